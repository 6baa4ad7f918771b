"""A unit's promises as a program for seccomp(2). Pure: nothing here touches the host."""
