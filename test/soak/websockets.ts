import type { SoakScript, SoakStep } from "./script.ts";
import { COMING_ID, DEAD_ID, LIVE_IDS, STOPPED_ID, UNKNOWN_ID } from "./world.ts";

const PREFIX = "/api/docker/containers";

/** A text frame of five bytes, masked with zeros. */
const FRAME = Buffer.from("\x81\x85\0\0\0\0hello", "latin1");
const CLOSE_FRAME = Buffer.from("\x88\x82\0\0\0\0\x03\xe8", "latin1");

/** What clients of WebSockets do, to targets that live, are dead, asleep or nowhere. */
export const WEBSOCKETS: readonly SoakScript[] = LIVE_IDS.flatMap((id) => [
  script("a message and its echo, then a reset", "rst", accepted(id, "/ws"), hears("CONNECTED"), says(FRAME), hears("hello")),
  script("a message and its echo, then a close", "fin", accepted(id, "/ws"), hears("CONNECTED"), says(FRAME), hears("hello"), says(CLOSE_FRAME)),
  script("a transparent one, with a reset", "rst", transparent(id, "/ws"), says(FRAME), hears("hello")),
  script("a transparent one, with a close", "fin", transparent(id, "/ws"), says(FRAME), hears("hello")),
  script("a message with the handshake", "rst", asks(`proxy-ws/${id}/ws`, FRAME), hears("CONNECTED"), hears("hello")),
  script("left before its container is there", "rst", accepted(id, "/never")),
  script("left while the container thinks about it", "fin", asks(`proxy/${id}/never`), hears("103 ")),
  script("a container that refuses", "fin", accepted(id, "/refuses"), hears("\x88")),
  script("a container that refuses, transparently", "rst", asks(`proxy/${id}/refuses`), hears("403 ")),
  script("a container that dies", "rst", accepted(id, "/dies"), hears("\x88")),
  script("a dead target", "fin", accepted(DEAD_ID, "/ws"), hears("\x88"), says(CLOSE_FRAME)),
  script("a dead target, left at once", "rst", accepted(DEAD_ID, "/ws")),
  script("a dead target, transparently", "rst", asks(`proxy/${DEAD_ID}/ws`), hears("HTTP/1.1 502")),
  script("one that sleeps, left by a reset", "rst", accepted(COMING_ID, "/ws"), says(FRAME)),
  script("one that sleeps, left by a close", "fin", accepted(COMING_ID, "/ws"), says(CLOSE_FRAME), hears("\x88")),
  script("one that is stopped", "fin", accepted(STOPPED_ID, "/ws"), hears("\x88")),
  script("an unknown one", "rst", accepted(UNKNOWN_ID, "/ws"), hears("\x88")),
]);

function script(name: string, leave: SoakScript["leave"], ...steps: SoakStep[][]): SoakScript {
  return { name, leave, steps: steps.flat() };
}

function asks(path: string, behind: Buffer = Buffer.alloc(0)): SoakStep[] {
  const head = [
    `GET ${PREFIX}/${path} HTTP/1.1`,
    "Host: x",
    "Authorization: token",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "",
    "",
  ].join("\r\n");
  return [{ send: Buffer.concat([Buffer.from(head), behind]) }];
}

function accepted(id: string, path: string): SoakStep[] {
  return [...asks(`proxy-ws/${id}${path}`), ...hears("101 "), ...hears("\r\n\r\n")];
}

function transparent(id: string, path: string): SoakStep[] {
  return [...asks(`proxy/${id}${path}`), ...hears("101 "), ...hears("\r\n\r\n")];
}

function hears(text: string): SoakStep[] {
  return [{ hear: text }];
}

function says(bytes: Buffer): SoakStep[] {
  return [{ send: bytes }];
}
