import type { OutputLogEvent } from "@aws-sdk/client-cloudwatch-logs";
import type { Task } from "@aws-sdk/client-ecs";
import { createBackoff } from "../../lib/backoff.ts";
import type { Call } from "../driver.ts";
import { logStream } from "./definition.ts";
import { LOG_TAIL_LINES } from "../faults.ts";
import { isServiceName } from "../labels.ts";
import { isNamed } from "./faults.ts";
import { findTasks, findService, tasksOf, mainContainer, taskId } from "./observe.ts";
import type { EcsSite } from "./site.ts";
import { readTags } from "./labels.ts";

/** The most that one call answers with. */
const MOST_EVENTS = 10_000;
const MOST_PAGES = 20;
const FOLLOW_MS = { first: 500, longest: 5_000 };
/** The log driver sends what a container said some seconds later, also of one that died. */
const LATE = { looks: 4, firstMs: 250, longestMs: 2_000 };

/** Of the service's newest task that ran. Ends when that does, where it is followed; an aborted call rejects with the signal's reason. */
export async function* logs(
  site: EcsSite,
  service: string,
  { tail, follow = false }: { tail: number; follow?: boolean },
  { signal }: Call,
): AsyncGenerator<string> {
  signal.throwIfAborted();
  if (!isServiceName(service)) return;
  const found = await findService(site.aws, service, signal);
  if (!found || !readTags(found.tags)) return;
  const tasks = await tasksOf(site.aws, found, signal);
  // What the last one said before its successor says anything is what people look for.
  const task = tasks.find((one) => hasRun(one, service)) ?? tasks[0];
  if (!task) return;
  const begun = await lastEvents(site, service, task, tail, signal);
  if (begun.events.length > 0) yield textOf(begun.events);
  if (!follow) return;
  let token = begun.next;
  const delays = createBackoff(FOLLOW_MS.first, FOLLOW_MS.longest);
  for (;;) {
    const [now] = await findTasks(site.aws, [task.taskArn ?? ""], signal);
    // Asked before the lines are, so that its last ones are read.
    const ended = now === undefined || now.lastStatus === "STOPPED";
    for (let page = 0; page < MOST_PAGES; page++) {
      const { events, next } = await read(site, service, task, { nextToken: token, startFromHead: true, limit: MOST_EVENTS }, signal);
      if (events.length > 0) {
        delays.reset();
        yield textOf(events);
      }
      if (next === undefined || next === token) break;
      token = next;
    }
    if (ended) return;
    await site.clock.sleep(delays.next(), signal);
  }
}

/** What a task that ended left behind; a log that cannot be read must not hide why it did. */
export async function lastLines(site: EcsSite, service: string, task: Task, signal: AbortSignal): Promise<string[]> {
  const delays = createBackoff(LATE.firstMs, LATE.longestMs);
  try {
    for (let look = 1; ; look++) {
      const { events } = await lastEvents(site, service, task, LOG_TAIL_LINES, signal);
      if (events.length > 0 || look === LATE.looks || !hasRun(task, service) || !site.logGroup) {
        return textOf(events)
          .split("\n")
          .filter((line) => line !== "")
          .slice(-LOG_TAIL_LINES);
      }
      await site.clock.sleep(delays.next(), signal);
    }
  } catch (error) {
    signal.throwIfAborted();
    site.log.warn({ service, err: error }, "The last lines of a container that crashed could not be read.");
    return [];
  }
}

/** One that never ran said nothing. */
function hasRun(task: Task, service: string): boolean {
  return task.startedAt !== undefined || mainContainer(task, service)?.exitCode !== undefined;
}

/** Goes backwards from the end: a page may be empty and others still come before it. `next` leads on from the last line. */
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
  // Of a stream that is still empty a token may lie behind its first line.
  return { events: tail > 0 ? events.slice(-tail) : [], next: events.length === 0 ? undefined : next };
}

type Page = { nextToken: string | undefined; startFromHead: boolean; limit: number };

/** https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html. No stream yet is no lines yet. */
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

function textOf(events: readonly OutputLogEvent[]): string {
  return events.map(({ message = "" }) => (message.endsWith("\n") ? message : `${message}\n`)).join("");
}
