import t from "tap";
import { setsCookie } from "../../lib/cookies.ts";
import { ENGINE_NAMES } from "../../gateway/connections/engine.ts";
import { exchange, get, ID, openRawContainer, openStand, PATH } from "./stand.ts";

const PLANTED = [
  "Set-Cookie: berth-console=a.b.c; Path=/",
  "SET-COOKIE:berth-console = x",
  "set-cookie: berth-registry=y; HttpOnly",
  // Without a name: browsers send their value as it is.
  "Set-Cookie: =berth-console=z",
  "Set-Cookie: berth-console",
];
const KEPT = [
  "Set-Cookie: plugin=berth-console; Path=/",
  "set-cookie:  berth-console-2=1",
  "Set-Cookie: Xberth-console=1;  Secure",
  "X-Set-Cookie: berth-console=1",
];

for (const forwarder of ENGINE_NAMES) {
  t.test(`with ${forwarder}, a container cannot set the cookies of berth's consoles, and its other cookies stay as they are`, async (t) => {
    const stand = await openStand(t, { forwarder });
    const head = ["HTTP/1.1 200 OK", ...PLANTED.flatMap((line, index) => [line, KEPT[index] ?? "X-Last: 2"]), "Content-Length: 3"];
    const address = await openRawContainer(t, (socket) => socket.once("data", () => socket.end([...head, "", "yes"].join("\r\n"))));
    stand.set(ID, { kind: "awake", address });
    for (const lines of [[], ["Origin: http://stand.example"]]) {
      const answer = await exchange(stand.port, get(PATH, lines));
      t.match(answer, /^HTTP\/1\.1 200 OK\r\n[^]*\r\n\r\nyes$/);
      const cookies = answer.split("\r\n").filter((line) => /^(?:x-)?set-cookie:/i.test(line));
      t.strictSame(
        cookies.map((line) => line.replace(/:\s*/, ": ")),
        KEPT.map((line) => line.replace(/:\s*/, ": ")),
      );
    }
  });

  t.test(`with ${forwarder}, nor by what it answers to an upgrade, in an informational response or in a trailer`, async (t) => {
    const stand = await openStand(t, { forwarder });
    const [line = ""] = PLANTED;
    const early = ["HTTP/1.1 103 Early Hints", line, "Link: </a.css>; rel=preload", "", ""].join("\r\n");
    const trailer = ["HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "", "3", "yes", "0", line, "", ""].join("\r\n");
    const refusal = ["HTTP/1.1 403 Forbidden", line, "Content-Length: 0", "", ""].join("\r\n");
    const address = await openRawContainer(t, (socket) =>
      socket.once("data", (bytes: Buffer) => void socket.end(/upgrade: websocket/i.test(bytes.toString()) ? refusal : early + trailer)),
    );
    stand.set(ID, { kind: "awake", address });
    t.notMatch(await exchange(stand.port, get(PATH)), "berth-console");
    const upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];
    const answer = await exchange(stand.port, get(PATH, upgrade).replace("Connection: close\r\n", ""));
    t.match(answer, /^HTTP\/1\.1 403/);
    t.notMatch(answer, "berth-console");
  });
}

t.test("which cookie a line sets is what browsers make of it", (t) => {
  const names = ["berth-console"];
  for (const line of ["berth-console=x", " \tberth-console\t= x; Path=/", "==berth-console=x", "berth-console;Path=/"])
    t.ok(setsCookie(line, names), line);
  for (const line of ["", "a=berth-console=x", "Berth-Console=x", "berth-console2=x", "a; berth-console=x"]) t.notOk(setsCookie(line, names), line);
  t.end();
});
