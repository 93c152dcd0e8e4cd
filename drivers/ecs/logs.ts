import type { OutputLogEvent } from "@aws-sdk/client-cloudwatch-logs";
import type { Task } from "@aws-sdk/client-ecs";
import { createBackoff } from "../../lib/backoff.ts";
import { formatTime } from "../../lib/lines.ts";
import type { LogOptions, OwnedCall } from "../driver.ts";
import { linesOf, LOG_TAIL_LINES } from "../faults.ts";
import { isOwnedBy, isServiceName } from "../labels.ts";
import { logStream, readTags } from "./definition.ts";
import { isNamed } from "./faults.ts";
import { findService, findTasks, mainContainer, taskId, tasksOf } from "./observe.ts";
import type { EcsSite } from "./site.ts";

/** The limit of one call. */
const MOST_EVENTS = 10_000;
const MOST_PAGES = 20;
const FOLLOW_MS = { first: 500, longest: 5_000 };
/** The log driver sends lines some seconds late, also those of an ended container. */
const LATE = { polls: 4, firstMs: 250, longestMs: 2_000 };

/** The log of the service's newest task that ran. With `follow`, ends when the task does. */
export async function* logs(
  site: EcsSite,
  service: string,
  { tail, follow = false, timestamps = false }: LogOptions,
  { signal, owner }: OwnedCall,
): AsyncGenerator<string> {
  signal.throwIfAborted();
  if (!isServiceName(service)) return;
  const holder = await findService(site.aws, service, signal);
  const labels = readTags(holder?.tags)?.labels;
  if (!holder || !labels || !isOwnedBy(labels, owner)) return;
  const tasks = await tasksOf(site.aws, holder, signal);
  // A task that has not run has no log yet; users need the log of the one before.
  const task = tasks.find((one) => hasRun(one, service)) ?? tasks[0];
  if (!task) return;
  const last = await lastEvents(site, service, task, tail, signal);
  if (last.events.length > 0) yield textOf(last.events, timestamps);
  if (!follow) return;
  let token = last.next;
  const delays = createBackoff(FOLLOW_MS.first, FOLLOW_MS.longest);
  for (;;) {
    const [now] = await findTasks(site.aws, [task.taskArn ?? ""], signal);
    // Before the lines, so that the last ones are read.
    const ended = now === undefined || now.lastStatus === "STOPPED";
    for (let page = 0; page < MOST_PAGES; page++) {
      const { events, next } = await read(site, service, task, { nextToken: token, startFromHead: true, limit: MOST_EVENTS }, signal);
      if (events.length > 0) {
        delays.reset();
        yield textOf(events, timestamps);
      }
      if (next === undefined || next === token) break;
      token = next;
    }
    if (ended) return;
    await site.clock.sleep(delays.next(), signal);
  }
}

/** The log tail of an ended task. An unreadable log must not hide why the task ended. */
export async function readLogTail(site: EcsSite, service: string, task: Task, signal: AbortSignal): Promise<string[]> {
  const delays = createBackoff(LATE.firstMs, LATE.longestMs);
  try {
    for (let poll = 1; ; poll++) {
      const { events } = await lastEvents(site, service, task, LOG_TAIL_LINES, signal);
      if (events.length > 0 || poll === LATE.polls || !hasRun(task, service) || !site.logGroup) {
        return linesOf(textOf(events, true)).slice(-LOG_TAIL_LINES);
      }
      await site.clock.sleep(delays.next(), signal);
    }
  } catch (error) {
    signal.throwIfAborted();
    site.log.warn({ service, err: error }, "log tail of crashed container unreadable");
    return [];
  }
}

function hasRun(task: Task, service: string): boolean {
  return task.startedAt !== undefined || mainContainer(task, service)?.exitCode !== undefined;
}

/** Reads backwards from the end: an empty page may have pages before it. `next` continues after the last line. */
async function lastEvents(site: EcsSite, service: string, task: Task, tail: number, signal: AbortSignal) {
  const events: OutputLogEvent[] = [];
  let next: string | undefined;
  let token: string | undefined;
  for (let page = 0; page < MOST_PAGES && (page === 0 || events.length < tail); page++) {
    const limit = Math.min(Math.max(tail - events.length, 1), MOST_EVENTS);
    const answer = await read(site, service, task, { nextToken: token, startFromHead: false, limit }, signal);
    events.unshift(...answer.events);
    if (page === 0) next = answer.next;
    if (answer.previous === undefined || answer.previous === token) break;
    token = answer.previous;
  }
  // The token of an empty stream may skip its first line.
  return { events: tail > 0 ? events.slice(-tail) : [], next: events.length === 0 ? undefined : next };
}

type Page = { nextToken: string | undefined; startFromHead: boolean; limit: number };

/** https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html. A missing stream has no lines yet. */
async function read(site: EcsSite, service: string, task: Task, page: Page, signal: AbortSignal) {
  if (!site.logGroup) return { events: [], next: undefined, previous: undefined };
  try {
    const at = { logGroupName: site.logGroup.name, logStreamName: logStream(service, taskId(task)) };
    const answer = await site.aws.getLogEvents({ ...at, ...page }, signal);
    return { events: answer.events ?? [], next: answer.nextForwardToken, previous: answer.nextBackwardToken };
  } catch (error) {
    if (isNamed(error, "ResourceNotFoundException")) return { events: [], next: page.nextToken, previous: undefined };
    throw error;
  }
}

function textOf(events: readonly OutputLogEvent[], timestamps = false): string {
  return events
    .map(({ message = "", timestamp }) => {
      const time = timestamps && timestamp !== undefined ? `${formatTime(timestamp)} ` : "";
      return message.endsWith("\n") ? time + message : `${time}${message}\n`;
    })
    .join("");
}
