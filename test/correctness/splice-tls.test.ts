import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import t from "tap";
import { openBerth, ownKeys } from "./open-berth.ts";
import { headFor } from "./row.ts";
import { testEngine } from "./test-engine.ts";

t.test("the engine on sockets passes every row over TLS too", (t) => testEngine(t, { forwarder: "splice", tls: ownKeys(t) }));

// Some clients take an end that TLS did not announce for one that it did, such as Node's; they need the reset. Others do not (RFC 8446 §6.1).
t.test(
  "over TLS, a body without a length whose connection breaks ends by a reset, without the close_notify that would make it complete",
  async (t) => {
    const proxy = await openBerth(t, { forwarder: "splice", tls: ownKeys(t) }, {});
    for (const broken of [true, false]) {
      proxy.container.onRequest((link) => {
        link.send("HTTP/1.1 200 OK\r\n\r\npart");
        setTimeout(() => (broken ? link.abort() : link.socket.end()), 50);
      });
      const client = spawn("openssl", ["s_client", "-quiet", "-connect", `127.0.0.1:${proxy.port}`], { stdio: "pipe" });
      client.stdin.write(headFor(proxy, "/"));
      const [output, complaint] = await Promise.all([text(client.stdout), text(client.stderr), once(client, "close")]);
      t.ok(output.endsWith("part"));
      t.equal(/errno=104/.test(complaint), broken, complaint);
    }
  },
);
