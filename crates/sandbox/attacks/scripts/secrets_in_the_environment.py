# looks for secrets in the environment
# empty environment
extra = set(os.environ) - {"PYTHONHASHSEED", "PYTHONUTF8", "LC_ALL", "LC_CTYPE", "OPENBLAS_NUM_THREADS", "HOME"}
print("BITES" if extra else "refused EMPTY", extra)
