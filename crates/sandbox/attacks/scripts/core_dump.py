# dies with all its memory on disk
# its own process
os.abort()
