import { Fault } from "../../lib/fault.ts";
import { acceptWebSocket } from "../containers/accept-websocket.ts";
import { refuseWebSocket } from "../containers/refuse-websocket.ts";
import type { Decision } from "../decision.ts";
import type { ResponseHead } from "../http1/open-http1.ts";
import { spliceUpgraded } from "../connections/upgraded.ts";
import { openAskContainer } from "./ask-container.ts";
import type { Exchange } from "./exchange.ts";

/** What an upgrade travels with: of the hop-by-hop lines, these are said anew. */
export const SWITCH_LINES = "Connection: Upgrade\r\nUpgrade: websocket\r\n";

/** Becomes a WebSocket at once, and then reaches for the container. */
export function acceptUpgrade(exchange: Exchange, { forward, lease, user }: Extract<Decision, { kind: "acceptWebSocket" }>): void {
  const { client, head, told } = exchange;
  const { parts, link } = client;
  told.upgraded();
  exchange.handOver();
  const early = client.handOver();
  const { draining } = parts;
  const accepted = acceptWebSocket(
    { ...parts, askContainer: openAskContainer(parts) },
    { asked: head, client: link, early, forward, lease, user, draining, told },
  );
  parts.upgraded(link, accepted, told);
}

/** Becomes a WebSocket only to be closed with a code and a reason. */
export function refuseUpgrade(exchange: Exchange, { code, reason }: Extract<Decision, { kind: "refuseWebSocket" }>): void {
  const { client, head, told } = exchange;
  told.upgraded();
  exchange.handOver();
  client.handOver();
  const { link, parts } = client;
  parts.upgraded(link, refuseWebSocket(parts, { asked: head, client: link, code, reason }), told);
}

/** The container answered 101: the very connection becomes what was asked for. */
export function switched(exchange: Exchange, head: ResponseHead, rest: Buffer): void {
  const { client, forward, lease, container, told } = exchange;
  if (container === undefined || forward === undefined || lease === undefined) return;
  if (!exchange.head.websocket || head.upgrade !== "websocket")
    return exchange.fail(new Fault("CONTAINER_BROKE_OFF", "The container switched to another protocol, which nobody had asked for"));
  const { parts, link } = client;
  const edits = forward.response(head, container.connectMs);
  link.sendText(head.write(edits, SWITCH_LINES) ?? head.text);
  told.answered(101);
  told.upgraded();
  exchange.handOver();
  container.reader.close();
  // It may have been kept before; it never comes back.
  parts.pool.forget(container);
  container.link.pause();
  const early = client.handOver();
  const spliced = spliceUpgraded({ ...parts, client: link, container: container.link, early: early.length > 0 ? [early] : [], rest, lease, told });
  parts.upgraded(
    link,
    spliced.finally(() => lease.release()),
    told,
  );
}
