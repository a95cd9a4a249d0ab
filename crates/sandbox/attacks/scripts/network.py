# reaches for the network
# seccomp
import socket
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, 16, 17, 38, 40, 44):
    attempt("socket", lambda: socket.socket(family, socket.SOCK_STREAM))
attempt("look-up", lambda: socket.getaddrinfo("localhost", 80))
