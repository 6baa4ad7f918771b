#include "keeper.h"
int mini(int argc, char **argv) { (void)argc; (void)argv; return 2; }
