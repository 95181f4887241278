"""Speaks the frames as the relay's first client does, with a parser that fails on every key it does not know.

original_client.py unix PATH STATE | original_client.py tcp PORT STATE; a STATE of "-" is none. Prints one JSON object.
"""

import asyncio
import json
import sys

KNOWN = {"type", "state", "code", "raw", "error"}


async def connect(kind, address):
    if kind == "unix":
        opening = asyncio.open_unix_connection(address)
    else:
        opening = asyncio.open_connection("127.0.0.1", int(address))
    return await asyncio.wait_for(opening, timeout=10)


async def main(kind, address, state):
    reader, writer = await connect(kind, address)
    frame = {"type": "REGISTER"}
    if state != "-":
        frame["state"] = state
    writer.write(json.dumps(frame).encode() + b"\n")
    await writer.drain()
    # The reader's own limit of 64 KiB a line holds here as it does there.
    line = await asyncio.wait_for(reader.readline(), timeout=30)
    if not line.endswith(b"\n"):
        raise SystemExit(f"no whole line: {line!r}")
    answer = json.loads(line.decode("utf-8"))
    unknown = set(answer) - KNOWN
    if unknown:
        raise SystemExit(f"unknown keys: {sorted(unknown)}")
    if answer["type"] not in ("DELIVER", "ERROR"):
        raise SystemExit(f"unknown type: {answer['type']}")
    rest = await asyncio.wait_for(reader.read(), timeout=10)
    print(json.dumps({"answer": answer, "line": line.decode("utf-8"), "rest": rest.decode("utf-8")}))
    writer.close()


asyncio.run(main(*sys.argv[1:4]))
