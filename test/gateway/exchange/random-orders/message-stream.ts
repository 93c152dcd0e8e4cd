/** A message that came over a connection. */
export type StreamedMessage = {
  /** The request line or the status line. */
  first: string;
  lines: ReadonlyMap<string, string>;
  body: Buffer;
  framing: "none" | "length" | "chunked" | "close";
  trailers: string;
  complete: boolean;
};

type StreamUser = {
  onHead(message: StreamedMessage): void;
  onComplete(message: StreamedMessage): void;
  /** Of the next final response. Only responses need it. */
  method?(): string;
  /** The bytes behind this request belong to another protocol. */
  switches?(request: StreamedMessage): boolean;
};

const HEAD_END = "\r\n\r\n";
const LINE = /^([!#$%&'*+\-.^_`|~\dA-Za-z]+): ([^\r\n]*)$/;
const FIRST = { requests: /^[A-Z]+ \/[!-~]* HTTP\/1\.1$/, responses: /^HTTP\/1\.1 [1-9]\d\d [^\r\n]*$/ };

/** Reads what berth sends, which has exactly one spelling of everything: all else throws. */
export class MessageStream {
  readonly messages: StreamedMessage[] = [];
  /** Bytes of another protocol, behind an upgrade. */
  tunnelled: Buffer = Buffer.alloc(0);
  readonly #kind: keyof typeof FIRST;
  readonly #user: StreamUser;
  #held: Buffer = Buffer.alloc(0);
  #state: "head" | "body" | "chunks" | "trailers" | "close" | "tunnel" = "head";
  #left = 0;

  constructor(kind: keyof typeof FIRST, user: StreamUser) {
    this.#kind = kind;
    this.#user = user;
  }

  get isTunnel(): boolean {
    return this.#state === "tunnel";
  }

  push(bytes: Buffer): void {
    this.#held = Buffer.concat([this.#held, bytes]);
    while (this.#step());
  }

  /** The other end has ended its direction. Returns whether that is between two messages. */
  end(): boolean {
    const last = this.messages.at(-1);
    if (this.#state === "close" && last !== undefined) this.#complete(last);
    return (this.#state === "head" && this.#held.length === 0) || this.isTunnel;
  }

  /** Returns whether there may be more to read in what came. */
  #step(): boolean {
    const last = this.messages.at(-1);
    if (this.#state === "head") return this.#readHead();
    if (last === undefined) return false;
    if (this.#state === "tunnel") {
      this.tunnelled = Buffer.concat([this.tunnelled, this.#take(this.#held.length)]);
      return false;
    }
    if (this.#state === "close") return this.#append(last, this.#held.length);
    if (this.#state === "body") return this.#readBody(last);
    return this.#state === "chunks" ? this.#readChunk(last) : this.#readTrailers(last);
  }

  #readHead(): boolean {
    const end = this.#held.indexOf(HEAD_END);
    if (end === -1) return false;
    const [first = "", ...texts] = this.#take(end + HEAD_END.length)
      .toString("latin1", 0, end)
      .split("\r\n");
    const lines = new Map<string, string>();
    for (const text of texts) {
      const [, name, value] = LINE.exec(text) ?? [];
      if (name === undefined || value === undefined) throw new Error(`a line is ${JSON.stringify(text)}`);
      lines.set(name.toLowerCase(), value);
    }
    if (!FIRST[this.#kind].test(first)) throw new Error(`a message begins with ${JSON.stringify(first)}`);
    const message: StreamedMessage = { first, lines, body: Buffer.alloc(0), framing: this.#framingOf(first, lines), trailers: "", complete: false };
    this.messages.push(message);
    this.#begin(message);
    return true;
  }

  #framingOf(first: string, lines: ReadonlyMap<string, string>): StreamedMessage["framing"] {
    const status = Number(first.slice(9, 12));
    if (this.#kind === "responses" && (status < 200 || status === 204 || status === 304 || this.#user.method?.() === "HEAD")) return "none";
    if (lines.get("transfer-encoding") === "chunked") return "chunked";
    if (lines.has("content-length")) return "length";
    return this.#kind === "responses" ? "close" : "none";
  }

  #begin(message: StreamedMessage): void {
    const { framing, lines, first } = message;
    const switches = this.#kind === "responses" ? first.startsWith("HTTP/1.1 101 ") : this.#user.switches?.(message) === true;
    this.#left = Number(lines.get("content-length"));
    this.#state = switches ? "tunnel" : framing === "length" ? "body" : framing === "chunked" ? "chunks" : framing === "close" ? "close" : "head";
    this.#user.onHead(message);
    if (switches || framing === "none" || (framing === "length" && this.#left === 0)) {
      if (!switches) this.#state = "head";
      this.#complete(message);
    }
  }

  #readBody(message: StreamedMessage): boolean {
    const length = Math.min(this.#left, this.#held.length);
    this.#left -= length;
    this.#append(message, length);
    if (this.#left > 0) return false;
    this.#state = "head";
    this.#complete(message);
    return true;
  }

  #readChunk(message: StreamedMessage): boolean {
    const end = this.#held.indexOf("\r\n");
    if (end === -1) return false;
    const text = this.#held.toString("latin1", 0, end);
    if (!/^[\da-f]+$/i.test(text)) throw new Error(`a chunk begins with ${JSON.stringify(text.slice(0, 40))}`);
    const size = Number.parseInt(text, 16);
    if (size === 0) {
      this.#take(end + 2);
      this.#state = "trailers";
      return true;
    }
    if (this.#held.length < end + 2 + size + 2) return false;
    this.#take(end + 2);
    this.#append(message, size);
    if (this.#take(2).toString("latin1") !== "\r\n") throw new Error("a chunk is longer than its size");
    return true;
  }

  #readTrailers(message: StreamedMessage): boolean {
    const end = this.#held.indexOf("\r\n");
    if (end === -1) return false;
    const line = this.#take(end + 2).toString("latin1", 0, end);
    if (line !== "") message.trailers += `${line}\n`;
    else {
      this.#state = "head";
      this.#complete(message);
    }
    return true;
  }

  #append(message: StreamedMessage, length: number): boolean {
    message.body = Buffer.concat([message.body, this.#take(length)]);
    return false;
  }

  #complete(message: StreamedMessage): void {
    message.complete = true;
    this.#user.onComplete(message);
  }

  #take(length: number): Buffer {
    const taken = this.#held.subarray(0, length);
    this.#held = this.#held.subarray(length);
    return taken;
  }
}
