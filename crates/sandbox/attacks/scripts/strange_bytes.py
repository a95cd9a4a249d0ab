# writes NUL, broken UTF-8 and terminal commands
# separate process
os.write(1, b"\0\xff\xfe\xc0\x80\x1b[2J\x1b]0;x\x07" * 100)
