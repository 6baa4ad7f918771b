"""From a policy to kernel steps: one file for each mechanism, put in order by compile.py."""
