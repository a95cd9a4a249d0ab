"""What goes wrong when rewards are asked for."""


class ServerError(RuntimeError):
    """The server gave no rewards: it cannot be reached, it refuses the request, or it does not start.

    `status` is the HTTP status, `code` the short name of the error in the answer; both are `None` when there was no answer.
    """

    def __init__(self, message: str, *, status: int | None = None, code: str | None = None):
        super().__init__(message)
        self.status = status
        self.code = code
