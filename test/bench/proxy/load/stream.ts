/** One long body on one connection: `more` says which way, `up`, `upchunked` or `down`. */
import { connect } from "node:net";
import { begin, fail, readPlan, tell } from "./plan.ts";

const { plan, key, target } = readPlan();
const PIECE = Buffer.alloc(1_048_576, "x");
const CHUNK = Buffer.concat([Buffer.from("10000\r\n"), Buffer.alloc(65_536, "x"), Buffer.from("\r\n")]);
const GIB = 1_073_741_824;
const socket = connect(plan.port, "127.0.0.1");
socket.once("error", (error) => fail(error.message));
socket.once("end", () => fail("the connection was closed"));
const end = begin(plan);

const lines = ["Host: stand.example", `Authorization: ${key(3)}`];
if (plan.more === "down") {
  socket.write(`GET ${target(3)}?bytes=${plan.bytes} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`);
  receive();
} else {
  const framing = plan.more === "up" ? `Content-Length: ${plan.bytes}` : "Transfer-Encoding: chunked";
  socket.write(`POST ${target(3)} HTTP/1.1\r\n${[...lines, framing].join("\r\n")}\r\n\r\n`);
  let output = "";
  socket.on("data", (piece: Buffer) => {
    output += piece.toString("latin1");
    if (!output.startsWith("HTTP/1.1 200".slice(0, output.length))) fail(`the answer was ${output.slice(0, 300)}`);
    // The answer is the number of bytes that arrived.
    if (output.includes("\r\n\r\n") && output.slice(output.indexOf("\r\n\r\n")).includes(String(plan.bytes))) tell(end(plan.bytes / GIB));
  });
  send();
}

function send(): void {
  let left = plan.bytes;
  const [piece, holds] = plan.more === "up" ? [PIECE, PIECE.length] : [CHUNK, 65_536];
  const more = () => {
    while (left > 0) {
      left -= holds;
      if (!socket.write(piece)) break;
    }
    if (left > 0) return;
    socket.off("drain", more);
    if (plan.more === "upchunked") socket.write("0\r\n\r\n");
  };
  socket.on("drain", more);
  more();
}

function receive(): void {
  let got = -1;
  let held = "";
  socket.on("data", (piece: Buffer) => {
    if (got >= 0) got += piece.length;
    else {
      held += piece.toString("latin1");
      const after = held.indexOf("\r\n\r\n") + 4;
      if (after === 3) return;
      if (!held.startsWith("HTTP/1.1 200") || !/^content-length:/im.test(held.slice(0, after))) fail(`the answer was ${held.slice(0, 100)}`);
      got = held.length - after;
    }
    if (got > plan.bytes) fail("more came than was sent");
    if (got === plan.bytes) tell(end(plan.bytes / GIB));
  });
}
