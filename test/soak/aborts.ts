import type { SoakScript, SoakStep } from "./script.ts";
import { COMING_ID, DEAD_ID, LIVE_IDS } from "./world.ts";

const PREFIX = "/api/docker/containers/proxy";
const CHUNK = `1000\r\n${"x".repeat(4_096)}\r\n`;

/** Requests that are left before they are over, each way by a close and by a reset. */
export const ABORTS: readonly SoakScript[] = LIVE_IDS.flatMap((id) => {
  const ok = [...request("GET", id, "/ok"), hears("\r\n\r\nok")];
  const ways: Record<string, SoakStep[]> = {
    "nothing sent": [],
    "within the first head": [{ send: `GET ${PREFIX}/${id}/ok HTTP/1.1\r\nHost: x\r\nAuth` }],
    "within the second head": [...ok, { send: `GET ${PREFIX}/${id}/ok HTTP/1.1\r\nHost: x\r\nAuth` }],
    "between two requests": ok,
    "as soon as it has the request": request("GET", id, "/ok"),
    "before the response": [...request("GET", id, "/never"), hears("103 ")],
    "before the response, the body sent": [...request("POST", id, "/never", "Content-Length: 5", "hello"), hears("103 ")],
    "within a body with a length": [...request("POST", id, "/never", "Content-Length: 100000", "part"), hears("103 "), { send: "more" }],
    "within a chunked body": [...request("PUT", id, "/never", "Transfer-Encoding: chunked", CHUNK), hears("103 "), { send: "1000\r\npart" }],
    "within a body that is invited": [...request("POST", id, "/never", "Content-Length: 9\r\nExpect: 100-continue"), hears("103 ")],
    "within a chunked response": [...request("GET", id, "/first-chunk"), hears("first")],
    "within a response with a length": [...request("GET", id, "/part"), hears("first")],
    "at the first byte of a response": [...request("GET", id, "/part"), hears("H")],
    "while the first of three is answered": [...request("GET", id, "/never"), ...twice(request("GET", id, "/ok")), hears("103 ")],
    "with two of three answered": [
      ...twice(request("GET", id, "/ok")),
      ...request("GET", id, "/first-chunk"),
      hears("ok"),
      hears("ok"),
      hears("first"),
    ],
    "three in a row, unread": [...twice(request("GET", id, "/ok")), ...request("GET", id, "/part")],
    "while the container is awaited": request("GET", COMING_ID, "/ok"),
    "while the container is awaited, with a body": request("POST", COMING_ID, "/ok", "Content-Length: 100", "part"),
    "while a dead target is tried": request("GET", DEAD_ID, "/ok"),
    "after a container that died": [...request("GET", id, "/dies"), hears("HTTP/1.1 502")],
    "a head that is refused": [{ send: "GET / HTTP/1.1\r\n\r\n" }, hears("400 ")],
  };
  return Object.entries(ways).flatMap(([name, steps]) => [
    { name: `${name}, closed`, leave: "fin", steps } as const,
    { name: `${name}, reset`, leave: "rst", steps } as const,
  ]);
});

function request(method: string, id: string, path: string, line?: string, body = ""): SoakStep[] {
  const lines = [`${method} ${PREFIX}/${id}${path} HTTP/1.1`, "Host: x", "Authorization: token", ...(line === undefined ? [] : [line]), "", body];
  return [{ send: lines.join("\r\n") }];
}

function twice(steps: SoakStep[]): SoakStep[] {
  return [...steps, ...steps];
}

function hears(text: string): SoakStep {
  return { hear: text };
}
