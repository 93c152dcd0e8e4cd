import { createHash, randomBytes } from "node:crypto";
import type { MessageHead } from "../messages.ts";
import { answersOf, arrived, ask, headTo, judge, shown, type Probed, type CorrectnessRow } from "../row.ts";
import { dial, pour, settled, within, type Wire } from "../wire.ts";
import { pause } from "../../fixtures/clock.ts";

const UPGRADE = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];
const SWITCHED = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
const CONNECTED = Buffer.from("\x81\x09CONNECTED", "latin1").toString("latin1");

const SLOW = 67_108_864;

/** What becomes of upgrades, and of the bytes behind them. */
export const WEBSOCKET: readonly CorrectnessRow[] = [
  {
    id: "upgrade-refused",
    asks: "A refused upgrade reaches the client with its status, its lines and its chunked body",
    section: "RFC 9110 §7.8",
    probe: async (proxy) => {
      proxy.container.onRequest((link) =>
        link.send("HTTP/1.1 401 Not For You\r\nX-Why: because\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nforbidden\r\n0\r\n\r\n"),
      );
      const { responses, rest } = await ask(proxy, upgrade(proxy, proxy.at("/")));
      const [response] = responses;
      return judge(`${response?.start ?? "nothing"}; ${response?.framing}: ${shown(response?.raw ?? "")}`, {
        "the container's status": response?.start === "HTTP/1.1 401 Not For You",
        "its lines": response?.values("x-why").join() === "because",
        "its body, whole": response?.whole === true && response.body === "forbidden" && rest === "",
      });
    },
  },
  {
    id: "upgrade-cookies",
    asks: "Two `Set-Cookie` on a 101 stay two, and its other lines come too",
    section: "RFC 6265 §3",
    probe: async (proxy) => {
      proxy.container.onRequest((link, _, head) => link.send(accept(head, ["X-Case: Kept", "Set-Cookie: a=1", "Set-Cookie: b=2"])));
      const { responses } = await ask(proxy, upgrade(proxy, proxy.at("/")));
      const [response] = responses;
      return judge(`${response?.start ?? "nothing"}; ${response?.values("set-cookie").join(" and ")}`, {
        switched: response?.status === 101,
        both: response?.values("set-cookie").join("|") === "a=1|b=2",
        "the rest": response?.values("x-case").join() === "Kept",
      });
    },
  },
  {
    id: "upgrade-bytes",
    asks: "After a 101 every byte passes both ways as it is, frames or not, those in one packet with the 101 and with the request too",
    section: "RFC 6455 §5",
    probe: async (proxy) => {
      const [up, down] = [randomBytes(200_000), randomBytes(200_000)];
      proxy.container.onRequest((link, _, head) => link.send(Buffer.concat([Buffer.from(accept(head)), down.subarray(0, 1_000)])));
      const client = await dial(proxy);
      client.send(Buffer.concat([Buffer.from(upgrade(proxy, proxy.at("/")), "latin1"), up.subarray(0, 1_000)]));
      await within(2_000, () => afterHead(client).length >= 1_000);
      client.send(up.subarray(1_000));
      const [link] = proxy.container.links;
      link?.send(down.subarray(1_000));
      await within(2_000, () => afterHead(client).length >= down.length && link !== undefined && afterHead(link).length >= up.length);
      return judge(`${afterHead(client).length} and ${link === undefined ? 0 : afterHead(link).length} of 200000 bytes`, {
        "to the client": afterHead(client) === down.toString("latin1"),
        "to the container": link !== undefined && afterHead(link) === up.toString("latin1"),
      });
    },
  },
  {
    id: "upgrade-slow",
    asks: "After a 101, who does not read stops the other side: what is taken in is bounded; later all of it arrives",
    section: "RFC 9293 §3.8.6",
    probe: async (proxy) => {
      proxy.container.onRequest((link, _, head) => link.send(accept(head)));
      const { wire: client } = await ask(proxy, upgrade(proxy, proxy.at("/")));
      const [link] = proxy.container.links;
      if (link === undefined) return judge("nothing came", { "the container is reached": false });
      const received: string[] = [];
      let right = true;
      for (const [from, to] of [
        [link, client],
        [client, link],
      ] as const) {
        const before = to.count();
        to.socket.pause();
        const poured = pour(from.socket, SLOW);
        const taken = await settled(6_000, poured.taken);
        to.socket.resume();
        const all = await within(8_000, () => to.count() - before >= SLOW);
        right &&= all && taken < SLOW * 0.65;
        received.push(`${(taken / 1_048_576).toFixed(1)} MiB, then ${all ? "all" : "not all"}`);
      }
      return judge(`towards the client ${received[0]}; towards the container ${received[1]}; of ${SLOW / 1_048_576} MiB`, { "both ways": right });
    },
  },
  {
    id: "upgrade-ends",
    asks: "Either side of an upgraded connection may end its sending, and still hears what the other says",
    section: "RFC 9293 §3.6",
    probe: async (proxy) => {
      proxy.container.onRequest((link, _, head) => link.send(accept(head)));
      const { wire: client } = await ask(proxy, upgrade(proxy, proxy.at("/")));
      const [link] = proxy.container.links;
      client.socket.end("last bytes");
      const isReceived = await within(5_000, () => link !== undefined && afterHead(link) === "last bytes" && link.state() === "ended");
      link?.socket.end("answer");
      const back = await within(5_000, () => afterHead(client) === "answer" && client.state() === "ended");
      return judge(
        `the container received ${isReceived ? "all and the end" : "not all"}, the client ${back ? "the answer and the end" : "not the answer"}`,
        {
          isReceived,
          back,
        },
      );
    },
  },
  {
    id: "upgrade-dies",
    asks: "A container that dies behind a 101 ends the client's side within 200 ms, and a client that leaves the container's",
    section: "RFC 9112 §9.5",
    probe: async (proxy) => {
      proxy.container.onRequest((link, _, head) => link.send(accept(head)));
      const one = await ask(proxy, upgrade(proxy, proxy.at("/")));
      const killed = performance.now();
      proxy.container.links[0]?.socket.resetAndDestroy();
      const ended = await within(5_000, () => one.wire.state() !== "open");
      const two = await ask(proxy, upgrade(proxy, proxy.at("/")));
      const left = performance.now();
      two.wire.abort();
      const isReceived = await within(5_000, () => proxy.container.links[1]?.state() !== "open");
      const ms = (from: number, wire: Wire | undefined) => `${Math.round((wire?.overAt() ?? Infinity) - from)} ms`;
      return judge(
        `client ${ended ? ms(killed, one.wire) : "still open"}, container ${isReceived ? ms(left, proxy.container.links[1]) : "still open"}`,
        {
          "the client's side ends": ended,
          "the container's side ends": isReceived,
        },
      );
    },
  },
  {
    id: "server-traffic-counts",
    asks: "What a container says over a WebSocket counts as its use, not only what the client says",
    section: "",
    own: true,
    probe: async (proxy) => {
      proxy.container.onRequest((link, _, head) => link.send(accept(head)));
      await ask(proxy, upgrade(proxy, proxy.at("/")));
      const before = proxy.lastUse();
      // Use is reported once a second.
      await pause(1_100);
      proxy.container.links[0]?.send(frame(1, "news"));
      const counted = await within(2_000, () => proxy.lastUse() >= before + 1_000);
      return judge(counted ? "counted" : "last use unchanged", { "it counts": counted });
    },
  },
  {
    id: "other-upgrades",
    asks: "No protocol but `websocket` is switched to: `h2c` is answered as a request without an upgrade",
    section: "RFC 9110 §7.8, RFC 9113 §3.1",
    probe: async (proxy) => {
      const lines = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"];
      const { last } = await ask(proxy, headTo(proxy, proxy.at("/"), { lines }));
      const came = proxy.container.came();
      return judge(`${last.start}; ${/upgrade|http2/i.test(came) ? "Upgrade passed on" : "Upgrade dropped"}`, {
        "a plain answer": last.status === 200,
        "nothing of it travels on": !/upgrade|http2-settings/i.test(came),
      });
    },
  },
  {
    id: "connected-once",
    asks: "On `proxy-ws`, `CONNECTED` comes exactly once, as text, before any byte of the container's; then frames pass both ways as they are",
    section: "RFC 6455 §5",
    own: true,
    probe: async (proxy) => {
      const down = [frame(2, randomBytes(70_000)), frame(1, "h\xc3\xa9"), frame(9, "ping"), frame(0x0a, ""), frame(2, "")];
      const up = [frame(2, randomBytes(70_000), true), frame(1, "word", true), frame(9, "p", true), frame(1, "", true)];
      proxy.container.onRequest((link, _, head) => link.send(Buffer.concat([Buffer.from(accept(head)), ...down.slice(0, 1)])));
      const client = await dial(proxy);
      client.send(upgrade(proxy, proxy.connected("/")));
      await within(2_000, () => afterHead(client).length > 70_000);
      const [link] = proxy.container.links;
      for (const each of down.slice(1)) link?.send(each);
      for (const each of up) client.send(each);
      const [wantDown, wantUp] = [CONNECTED + text(down), text(up)];
      await within(2_000, () => afterHead(client).length >= wantDown.length && link !== undefined && afterHead(link).length >= wantUp.length);
      return judge(
        `the client got ${shown(afterHead(client), 30)} and ${afterHead(client).length} bytes, the container ${link === undefined ? 0 : afterHead(link).length}`,
        {
          "CONNECTED, then every byte": afterHead(client) === wantDown,
          "to the container every byte": link !== undefined && afterHead(link) === wantUp,
        },
      );
    },
  },
  {
    id: "connected-early",
    asks: "On `proxy-ws`, frames that a client sends before `CONNECTED`, in one packet with its handshake too, reach the container in order",
    section: "RFC 6455 §5",
    own: true,
    probe: async (proxy) => {
      const up = [frame(1, "first", true), frame(2, randomBytes(70_000), true), frame(1, "last", true)];
      proxy.container.onRequest((link, _, head) => void setTimeout(() => link.send(accept(head)), 100));
      const client = await dial(proxy);
      client.send(Buffer.concat([Buffer.from(upgrade(proxy, proxy.connected("/")), "latin1"), ...up.slice(0, 2)]));
      await arrived(proxy);
      client.send(text(up.slice(2)));
      const [link] = proxy.container.links;
      await within(1_500, () => client.state() !== "open" || (link !== undefined && afterHead(link).length >= text(up).length));
      const came = link === undefined ? "" : afterHead(link);
      return judge(`${came.length} of ${text(up).length} bytes; the client got ${shown(afterHead(client), 60)}`, { "every byte": came === text(up) });
    },
  },
  {
    id: "connected-refused",
    asks: "On `proxy-ws`, a container that refuses the upgrade becomes a close with a code and the reason",
    section: "RFC 6455 §7.4",
    own: true,
    probe: async (proxy) => {
      proxy.container.onRequest((link) => link.send("HTTP/1.1 403 Not For You\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"));
      const client = await dial(proxy);
      client.send(upgrade(proxy, proxy.connected("/")));
      await within(2_000, () => client.state() !== "open" || afterHead(client).length > 4);
      const bytes = Buffer.from(afterHead(client), "latin1");
      const code = bytes.length > 4 ? bytes.readUInt16BE(2) : 0;
      const reason = bytes.toString("utf8", 4);
      return judge(`${answersOf(client).last.start}, then close ${code}: ${reason}`, {
        "accepted first": answersOf(client).last.status === 101,
        "one close frame and nothing else": bytes[0] === 0x88 && bytes.length === 2 + (bytes[1] ?? 0),
        "with a code": code === 1008 || code === 1011,
        "with the status in its reason": reason.includes("403"),
      });
    },
  },
  {
    id: "close-codes",
    asks: "On `proxy-ws`, a close travels to the other side with its code and reason, from either side",
    section: "RFC 6455 §7.1",
    own: true,
    probe: async (proxy) => {
      proxy.container.onRequest((link, _, head) => link.send(accept(head)));
      const close = (code: number, reason: string, masked = false) =>
        frame(8, Buffer.concat([Buffer.from([code >> 8, code & 0xff]), Buffer.from(reason)]), masked);
      const [hers, his] = [close(4005, "bye"), close(4006, "so long", true)];
      const [one, two] = [await dial(proxy), await dial(proxy)];
      for (const [nth, client] of [one, two].entries()) {
        client.send(upgrade(proxy, proxy.connected("/")));
        await arrived(proxy, nth + 1);
        await within(5_000, () => afterHead(client) === CONNECTED);
      }
      proxy.container.links[0]?.send(hers);
      two.send(his);
      const toClient = await within(5_000, () => afterHead(one) === CONNECTED + text([hers]));
      const link = proxy.container.links[1];
      const toContainer = await within(5_000, () => link !== undefined && afterHead(link) === text([his]));
      return judge(`to the client ${toClient ? "as it was" : "changed or lost"}, to the container ${toContainer ? "as it was" : "changed or lost"}`, {
        "to the client": toClient,
        "to the container": toContainer,
      });
    },
  },
  {
    id: "connected-dies",
    asks: "On `proxy-ws`, a container that dies without a close becomes a close with a reason, at a frame's boundary only",
    section: "RFC 6455 §7.4.1",
    own: true,
    probe: async (proxy) => {
      const ends: string[] = [];
      for (const cut of [0, 3]) {
        const words = frame(1, "words");
        proxy.container.onRequest((link, _, head) => {
          link.send(Buffer.concat([Buffer.from(accept(head)), words.subarray(0, words.length - cut)]));
          setTimeout(() => link.socket.destroy(), 50);
        });
        const client = await dial(proxy);
        client.send(upgrade(proxy, proxy.connected("/")));
        await within(2_000, () => client.state() !== "open");
        ends.push(afterHead(client).slice(CONNECTED.length + words.length - cut));
      }
      const [whole = "", broken = ""] = ends;
      return judge(`between frames: ${shown(whole)}; within one: ${shown(broken) || "nothing"}`, {
        "a close between frames": whole.startsWith("\x88") && whole.length > 4,
        "no byte within one": broken === "",
      });
    },
  },
];

function upgrade(proxy: Probed, target: string): string {
  return headTo(proxy, target, { lines: UPGRADE });
}

/** The answer that accepts, to a head's own key. */
function accept(head: MessageHead, lines: readonly string[] = []): string {
  const key = head.values("sec-websocket-key").join();
  const value = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  return [`${SWITCHED}Sec-WebSocket-Accept: ${value}`, ...lines, "", ""].join("\r\n");
}

/** A whole frame; a masked one with a mask of its own. */
function frame(opcode: number, payload: string | Buffer, masked = false): Buffer {
  const body = typeof payload === "string" ? Buffer.from(payload, "latin1") : payload;
  const length = body.length < 126 ? [body.length] : body.length < 65_536 ? [126, body.length >> 8, body.length & 0xff] : longLength(body.length);
  const head = Buffer.from([0x80 | opcode, (masked ? 0x80 : 0) | (length[0] ?? 0), ...length.slice(1)]);
  if (!masked) return Buffer.concat([head, body]);
  const mask = randomBytes(4);
  return Buffer.concat([head, mask, body.map((byte, at) => byte ^ (mask[at % 4] ?? 0))]);
}

function longLength(length: number): number[] {
  return [127, 0, 0, 0, 0, length >>> 24, (length >> 16) & 0xff, (length >> 8) & 0xff, length & 0xff];
}

function text(frames: readonly Buffer[]): string {
  return Buffer.concat(frames).toString("latin1");
}

/** What came behind the head. */
function afterHead(wire: Wire): string {
  const end = wire.came().indexOf("\r\n\r\n");
  return end === -1 ? "" : wire.came().slice(end + 4);
}
