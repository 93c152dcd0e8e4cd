import { bodyOf } from "../../../soak/mixed/plan.ts";
import type { StreamedMessage } from "./message-stream.ts";
import { answerBytes, containerFrames, type PlannedClient, type PlannedRequest } from "./plan.ts";
import type { ClientResult } from "./scripted-client.ts";
import { isBegin } from "./scripted-container.ts";

/** What was wrong with what a client got: each request has one final answer of its own or a cut, and nothing of another. */
export function judgeClient(plan: PlannedClient, { stream, end, problem }: ClientResult, { mustAnswer }: { mustAnswer: boolean }): string[] {
  const problems = problem === undefined ? [] : [`The client ${problem}`];
  const { requests, tail } = plan;
  const most = requests.length + (tail === "" ? 0 : 1);
  let nth = 0;
  for (const message of stream.messages) {
    const request = requests[nth];
    const status = statusOf(message);
    if (nth >= most) problems.push(`${message.first} came after the last answer`);
    problems.push(...judgeMessage(message, request, end));
    if (status >= 200 || status === 101) nth++;
  }
  if (stream.isTunnel) {
    const { id, frames = 0 } = requests[nth - 1] as PlannedRequest;
    if (!isBegin(containerFrames(id, frames), stream.tunnelled)) problems.push(`The client of ${id} got frames of another one`);
  }
  const finals = stream.messages.filter((message) => statusOf(message) >= 200 || statusOf(message) === 101);
  if (mustAnswer && plan.leave === undefined) {
    const until = requests.findIndex(isLast);
    const due = requests.slice(0, until === -1 ? requests.length : until + 1);
    for (const [at, { id, answer, frames }] of due.entries()) {
      const message = finals[at];
      const status = frames !== undefined && answer.status === 200 ? 101 : answer.status;
      if (message === undefined || statusOf(message) !== status || !message.complete || message.lines.get("x-id") !== id)
        problems.push(`${id} has no answer of its own, but ${message?.first ?? `nothing, and the connection ${end}`}`);
    }
  }
  return problems;
}

/** After its answer, the connection may close. */
function isLast({ connection, version, answer, frames, framing, method }: PlannedRequest): boolean {
  const isBodyless = method === "HEAD" || answer.status === 204 || answer.status === 304;
  if (connection === "close" || frames !== undefined) return true;
  if (version === "1.0" && (connection !== "keep-alive" || (answer.framing === "chunked" && !isBodyless))) return true;
  return (answer.framing === "close" && !isBodyless) || (answer.early && framing !== "none");
}

function judgeMessage(message: StreamedMessage, request: PlannedRequest | undefined, end: ClientResult["end"]): string[] {
  const { first, lines, body, complete, framing, trailers } = message;
  const status = statusOf(message);
  const id = lines.get("x-id");
  // The probe of a half-open client, and the answer to an expectation of a container.
  if (status === 100 && id === undefined) return request?.version === "1.0" ? [`A client of HTTP/1.0 got ${first}`] : [];
  if (id === undefined) return status >= 400 ? [] : [`${first} came from no container`];
  if (request === undefined || id !== request.id) return [`${first} of ${id} came for ${request?.id}`];
  if (status === 103) return request.version === "1.0" ? [`A client of HTTP/1.0 got ${first}`] : [];
  const { answer, frames, method } = request;
  const problems: string[] = [];
  if (status !== answer.status && !(status === 101 && frames !== undefined)) problems.push(`${id} has the status ${status}`);
  if (status === 101) return problems;
  const isBodyless = method === "HEAD" || status === 204 || status === 304;
  const whole = bodyOf(id, isBodyless ? 0 : answer.length);
  if (!whole.subarray(0, body.length).equals(body)) problems.push(`The answer to ${id} has other bytes`);
  if (trailers !== "" && trailers !== `X-Trailer: ${id}\n`) problems.push(`The answer to ${id} has the trailers ${trailers}`);
  // The container may have ended a body that has no length, and then it looks whole.
  const mayBeShort = answer.ending === "ends within" && answer.framing === "close";
  if (complete && body.length < whole.length && !mayBeShort)
    problems.push(`The answer to ${id} looks complete, and has ${body.length} of ${whole.length} bytes`);
  if (complete && answer.framing === "chunked" && framing === "chunked" && trailers === "")
    problems.push(`The answer to ${id} has lost its trailers`);
  if (!complete && end === "open") problems.push(`The answer to ${id} has no end`);
  return problems;
}

function statusOf({ first }: StreamedMessage): number {
  return Number(first.slice(9, 12));
}

/** How a play is printed, so that it can be read. */
export function describeClient(plan: PlannedClient, { stream, end, sent }: ClientResult): string {
  const requests = plan.requests.map(
    ({ answer, ...request }) =>
      `\n    ${JSON.stringify(request)}\n      ${JSON.stringify(answer)} of ${answerBytes({ ...request, answer }).length} bytes`,
  );
  const came = stream.messages.map(
    ({ first, lines, body, complete }) => `\n    ${first} of ${lines.get("x-id")} with ${body.length} bytes, ${complete ? "complete" : "cut"}`,
  );
  const { requests: _, ...client } = plan;
  return `  ${JSON.stringify(client)}${requests.join("")}\n  sent ${sent} bytes, ${end}, got:${came.join("")}`;
}
