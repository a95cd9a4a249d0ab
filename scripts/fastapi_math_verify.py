#!/usr/bin/env python3
"""math-verify behind FastAPI, as people write such a service: the server beside which scripts/bench-serve.py measures rlar's.

    PYTHON scripts/fastapi_math_verify.py PORT     # needs fastapi, uvicorn, math-verify
"""

import sys

import uvicorn
from fastapi import FastAPI
from math_verify import parse, verify
from pydantic import BaseModel


class Item(BaseModel):
    reference: str
    response: str


class Request(BaseModel):
    items: list[Item]


app = FastAPI()


@app.post("/v1/rewards")
async def rewards(request: Request):
    # `signal.alarm` cannot interrupt a worker thread, so the endpoint runs on the main thread, as math-verify needs.
    results = [dict(status="ok", reward=float(verify(parse(item.reference), parse(item.response)))) for item in request.items]
    return dict(results=results)


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
