import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type { Call, DriverEvent } from "../driver.ts";
import { reconnect } from "../events.ts";
import { type SpawnerClient, lines } from "./client.ts";

const RETRY_MS = { firstMs: 250, longestMs: 10_000 };

/** An outage of the spawner's own engine arrives as its `connected`. */
export async function* events(client: SpawnerClient, clock: Clock, log: Log, { signal }: Call): AsyncGenerator<DriverEvent> {
  const messages = { lost: "spawner events lost, reconnecting", back: "spawner events connected again" };
  const request = { method: "GET" as const, path: "/events", signal, doing: "Listening to the spawner" };
  const stream = reconnect({ clock, log, signal, ...RETRY_MS, ...messages }, () => lines<DriverEvent>(client, clock, request));
  for await (const event of stream) yield event === "disconnected" ? { kind: "disconnected" } : event;
}
