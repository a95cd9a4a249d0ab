# crashes in order to leave a core dump
# separate process
os.abort()
