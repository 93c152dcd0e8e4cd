import { connect, type Socket } from "node:net";
import { connect as connectSecurely } from "node:tls";
import { numbers } from "../../../fuzz/numbers.ts";
import { PATIENCE_MS } from "../../../fixtures/eventually.ts";
import { MessageStream } from "./message-stream.ts";
import { type PlannedClient, requestBytes, someCuts } from "./plan.ts";
import { REST_MS, turns } from "./scripted-container.ts";

/** What one client got. `open`: the gateway neither answered nor closed. `left`: the client did. */
export type ClientResult = { stream: MessageStream; end: "ended" | "reset" | "left" | "open"; sent: number; problem: string | undefined };

/** After so long without a byte, a client leaves that is to leave when it is quiet. */
const QUIET_MS = 20;

/** Plays a client over one connection, until both sides have closed it. */
export async function playClient(
  { port, secured, path }: { port: number; secured: boolean; path: string },
  plan: PlannedClient,
): Promise<ClientResult> {
  const options = { port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true };
  const socket = secured ? connectSecurely({ ...options, rejectUnauthorized: false }) : connect(options);
  const client = new ScriptedClient(socket, plan);
  await new Promise<void>((resolve) => {
    socket.once(secured ? "secureConnect" : "connect", () => resolve());
    socket.once("close", () => resolve());
  });
  return client.play(path);
}

class ScriptedClient {
  readonly #socket: Socket;
  readonly #plan: PlannedClient;
  readonly #stream: MessageStream;
  #finals = 0;
  #received = 0;
  #sent = 0;
  #end: ClientResult["end"] = "open";
  #problem: string | undefined;
  #closed = false;
  #wake = () => {};
  #rested = false;
  #quiet: NodeJS.Timeout | undefined;

  constructor(socket: Socket, plan: PlannedClient) {
    this.#socket = socket;
    this.#plan = plan;
    this.#stream = new MessageStream("responses", {
      method: () => plan.requests[this.#finals]?.method ?? "GET",
      onHead: () => undefined,
      onComplete: ({ first }) => {
        if (!first.startsWith("HTTP/1.1 1")) this.#finals++;
      },
    });
    socket.on("data", (bytes: Buffer) => this.#onData(bytes));
    socket.once("end", () => {
      this.#stream.end();
      this.#over("ended");
      socket.end();
    });
    socket.on("error", () => this.#over("reset"));
    socket.once("close", () => {
      this.#closed = true;
      this.#over("reset");
    });
  }

  async play(path: string): Promise<ClientResult> {
    const { requests, pipelines, tail, leave, endsEarly } = this.#plan;
    const random = numbers(this.#plan.seed);
    const all = requests.map((request) => requestBytes(request, path));
    if (tail !== "") all.push(Buffer.from(tail, "latin1"));
    if (leave?.after === "quiet") this.#quiet = setTimeout(() => this.#leave(), QUIET_MS);
    const groups = pipelines ? [Buffer.concat(all)] : all;
    for (const [at, bytes] of groups.entries()) {
      await this.#until(() => this.#finals >= at || this.#isOver || this.#stream.isTunnel);
      await this.#send(bytes, random);
      if (this.#isOver) break;
    }
    if (leave?.after === "sent" && leave.bytes >= this.#sent) this.#leave();
    if (endsEarly && !this.#isOver) this.#socket.end();
    const count = requests.length + (tail === "" ? 0 : 1);
    await this.#until(() => this.#finals >= count || this.#isOver || this.#hasFrames());
    // The gateway ends its side then, if it has not before.
    if (!this.#isOver) this.#socket.end();
    await this.#until(() => this.#closed);
    clearTimeout(this.#quiet);
    this.#socket.destroy();
    return { stream: this.#stream, end: this.#end, sent: this.#sent, problem: this.#problem };
  }

  get #isOver(): boolean {
    return this.#end !== "open" || this.#problem !== undefined;
  }

  #hasFrames(): boolean {
    const last = this.#plan.requests.at(-1);
    return this.#stream.isTunnel && last?.frames !== undefined && this.#stream.tunnelled.length >= (last.frames * (last.frames + 1) * 90) / 2;
  }

  async #send(bytes: Buffer, random: (below: number) => number): Promise<void> {
    const { leave } = this.#plan;
    const leaveAt = leave?.after === "sent" ? Math.max(0, leave.bytes - this.#sent) : Number.POSITIVE_INFINITY;
    const until = Math.min(bytes.length, leaveAt);
    const ends = [0, ...someCuts(random, bytes.length).filter((at) => at < until), until];
    for (const [at, end] of ends.entries()) {
      const from = ends[at - 1];
      if (from === undefined) continue;
      if (this.#isOver || !this.#socket.writable) return;
      if (end > from) this.#socket.write(bytes.subarray(from, end));
      this.#sent += end - from;
      await turns(random(3));
    }
    if (leaveAt < bytes.length) this.#leave();
  }

  #onData(bytes: Buffer): void {
    const { leave, rests } = this.#plan;
    this.#received += bytes.length;
    this.#quiet?.refresh();
    if (this.#end === "left") return;
    try {
      this.#stream.push(bytes);
    } catch (error) {
      this.#problem ??= `got what is no response: ${String(error)}`;
      this.#socket.destroy();
    }
    if (leave?.after === "received" && this.#received >= leave.bytes) this.#leave();
    if (rests && !this.#rested) {
      this.#rested = true;
      this.#socket.pause();
      setTimeout(() => this.#socket.resume(), REST_MS);
    }
    this.#wake();
  }

  #leave(): void {
    const by = this.#plan.leave?.by;
    if (this.#isOver || by === undefined) return;
    // It may still read an answer; else the gateway closes. Node drops records of TLS that it has not passed on when a direction ends.
    if (by === "end") return void setImmediate(() => this.#socket.end());
    this.#over("left");
    // Node resets only the connection under TLS.
    if (by === "reset" && !("encrypted" in this.#socket) && !this.#socket.writableEnded) this.#socket.resetAndDestroy();
    else this.#socket.destroy();
  }

  #over(end: ClientResult["end"]): void {
    if (this.#end === "open") this.#end = end;
    this.#wake();
  }

  /** Resolves after `PATIENCE_MS` in any case, with the problem that this is. */
  async #until(isTrue: () => boolean): Promise<void> {
    if (isTrue()) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => {
        this.#problem ??= "waits for an answer or the end of its connection";
        finish();
      }, PATIENCE_MS / 3);
      const finish = () => {
        clearTimeout(timer);
        this.#wake = () => {};
        resolve();
      };
      this.#wake = () => {
        if (isTrue()) finish();
      };
    });
  }
}
