import { createServer, type Socket } from "node:net";
import type { Test } from "tap";
import { numbers } from "../../../fuzz/numbers.ts";
import { bodyOf } from "../../../soak/mixed/plan.ts";
import { pause } from "../../../fixtures/clock.ts";
import { listen, type ListenAddress } from "../../../fixtures/server.ts";
import { MessageStream, type StreamedMessage } from "./message-stream.ts";
import { answerBytes, clientFrames, type PlannedRequest, someCuts } from "./plan.ts";

/** What containers got, and all that was wrong with it. */
export type ContainerRecord = {
  /** By id: how often it came. */
  readonly came: Map<string, number>;
  readonly problems: string[];
};

/** A container that does with each request what is planned for it, and checks that it gets nothing else. */
export function openScriptedContainer(
  t: Pick<Test, "teardown">,
  planned: ReadonlyMap<string, PlannedRequest>,
  record: ContainerRecord,
): Promise<ListenAddress> {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => void new ScriptedConnection(socket, planned, record));
  return listen(t, server);
}

/** Turns of the event loop: enough that two pieces are read separately, most of the time. */
export async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** How long a side that rests reads nothing. */
export const REST_MS = 15;
/** Longer than the gateway waits before it probes a client that has ended its direction. */
const PAUSE_MS = 200;

class ScriptedConnection {
  readonly #socket: Socket;
  readonly #planned: ReadonlyMap<string, PlannedRequest>;
  readonly #record: ContainerRecord;
  readonly #stream: MessageStream;
  #request: PlannedRequest | undefined;
  /** Why no request may come any more. */
  #unclean: string | undefined;
  #answering = false;
  #count = 0;

  constructor(socket: Socket, planned: ReadonlyMap<string, PlannedRequest>, record: ContainerRecord) {
    this.#socket = socket;
    this.#planned = planned;
    this.#record = record;
    this.#stream = new MessageStream("requests", {
      switches: (message) => isSwitch(planned.get(idOf(message))),
      onHead: (message) => this.#onHead(message),
      onComplete: (message) => this.#onComplete(message),
    });
    socket.on("error", () => undefined);
    socket.on("data", (bytes: Buffer) => {
      try {
        this.#stream.push(bytes);
      } catch (error) {
        this.#fail(`got what is no request: ${String(error)}`);
        socket.destroy();
      }
    });
    socket.once("end", () => socket.end());
    socket.once("close", () => this.#checkRest());
  }

  #onHead(message: StreamedMessage): void {
    const id = idOf(message);
    const request = this.#planned.get(id);
    if (request === undefined) return this.#fail(`got a request that no client has sent: ${message.first}`);
    if (this.#answering) this.#fail(`got ${id} while it answered ${this.#request?.id}`);
    if (this.#unclean !== undefined) this.#fail(`got ${id} on a connection that ${this.#unclean}`);
    this.#request = request;
    this.#answering = true;
    const nth = (this.#record.came.get(id) ?? 0) + 1;
    this.#record.came.set(id, nth);
    const { method, length, answer } = request;
    // A used connection may have been closed meanwhile. Its request may be read after the one that replaces it.
    if (nth > 1 && (!["GET", "HEAD", "PUT", "DELETE", "OPTIONS"].includes(method) || length > 0 || nth > 2))
      this.#fail(`got ${method} ${id} with ${length} bytes ${nth} times, now as request ${this.#count + 1} of a connection`);
    this.#count++;
    if (answer.rests) {
      this.#socket.pause();
      setTimeout(() => this.#socket.resume(), REST_MS);
    }
    if (answer.early) void this.#answer(request, nth);
  }

  #onComplete({ body }: StreamedMessage): void {
    const request = this.#request;
    if (request === undefined) return;
    if (!body.equals(bodyOf(`${request.id} sent`, request.length))) this.#fail(`got another body than that of ${request.id}`);
    if (!request.answer.early) void this.#answer(request, this.#record.came.get(request.id) ?? 1);
  }

  async #answer(request: PlannedRequest, nth: number): Promise<void> {
    const { id, answer } = request;
    const random = numbers(answer.seed);
    const socket = this.#socket;
    const isFirst = nth === 1;
    await turns(random(3));
    if (answer.ending === "silent") return;
    if (answer.ending === "resets" && isFirst) {
      this.#unclean = `it has reset instead of answering ${id}`;
      return this.#reset();
    }
    if (answer.ending === "malformed") {
      this.#unclean = `answered ${id} with what is not HTTP`;
      return void socket.write("HTTP/1.1 two hundred\r\n\r\n");
    }
    const whole = answerBytes(request);
    const isPart = answer.ending === "ends within" || answer.ending === "resets within";
    const bytes = isPart ? whole.subarray(0, random(whole.length)) : answer.ending === "surplus" ? Buffer.concat([whole, SURPLUS]) : whole;
    // What comes later than the end of the response may come after another request has been sent.
    const cuts = someCuts(random, answer.ending === "surplus" ? Math.max(0, whole.length - 1) : bytes.length);
    if (isPart) this.#unclean = `has sent a part of the response to ${id}`;
    if (answer.ending === "surplus") this.#unclean = `has sent more than the response to ${id}`;
    if (answer.closes) this.#unclean = `has sent Connection: close in the response to ${id}`;
    if (isSwitch(request)) this.#unclean = `became a WebSocket for ${id}`;
    const ends = [0, ...cuts, bytes.length];
    for (const [at, end] of ends.entries()) {
      const from = ends[at - 1];
      if (from === undefined) continue;
      if (end === bytes.length) this.#answering = false;
      if (!socket.writable) return;
      if (end > from) socket.write(bytes.subarray(from, end));
      await turns(random(3));
      if (answer.pauses && at === 1) await pause(PAUSE_MS);
    }
    if (answer.ending === "resets within") return this.#reset();
    if (answer.ending === "ends within" || answer.closes || (isSwitch(request) && random(2) === 0)) socket.end();
    if (answer.ending === "leaves") {
      await turns(random(6));
      // The end of a response to the next request could be taken for its own, if it has no length.
      if (this.#request === request) socket.end();
    }
  }

  /** Node loses the descriptor of a socket that is reset while its end is about to leave. */
  #reset(): void {
    if (this.#socket.writableEnded) this.#socket.destroy();
    else this.#socket.resetAndDestroy();
  }

  #checkRest(): void {
    const request = this.#request;
    if (request?.frames === undefined || !this.#stream.isTunnel) return;
    const { tunnelled } = this.#stream;
    const sent = clientFrames(request.id, request.frames);
    if (!isBegin(sent, tunnelled)) this.#fail(`got other frames than the client of ${request.id} has sent`);
  }

  #fail(problem: string): void {
    this.#record.problems.push(`A container ${problem}`);
  }
}

function idOf({ first }: StreamedMessage): string {
  return /^[A-Z]+ \/(\S+) /.exec(first)?.[1] ?? "";
}

/** The container accepts the WebSocket. */
function isSwitch(request: PlannedRequest | undefined): boolean {
  return request?.frames !== undefined && request.answer.status === 200;
}

/** A response that belongs to no request. */
const SURPLUS = Buffer.from("HTTP/1.1 200 OK\r\nX-Id: surplus\r\nContent-Length: 0\r\n\r\n");

/** `part` is the begin of `whole`, and maybe a close frame of berth's own behind it. */
export function isBegin(whole: Buffer, part: Buffer): boolean {
  let same = 0;
  while (same < part.length && part[same] === whole[same]) same++;
  return same === part.length || (part[same] === 0x88 && part.length - same < 130);
}
