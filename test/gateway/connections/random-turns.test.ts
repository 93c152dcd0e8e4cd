import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import { setImmediate as nextTurn } from "node:timers/promises";
import t from "tap";
import { openRing } from "../../../gateway/connections/choose-sockets.ts";
import { FfiSockets } from "../../../gateway/connections/ffi-sockets.ts";
import { type Libc, loadLibc } from "../../../gateway/connections/libc.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { numbers } from "../../fuzz/numbers.ts";
import { LAYERS, type LayerSocket, openPairs, type Transport } from "./layer-stand.ts";

/** `FUZZ_SECONDS=60 npm test -- test/gateway/connections/random-turns.test.ts` goes on from `FUZZ_SEED`. */
const SEED = Number(process.env["FUZZ_SEED"] ?? 1);
const SECONDS = Number(process.env["FUZZ_SECONDS"] ?? 0);

const SEEDS = 3;
const SOCKETS = 16;
const STEPS = 50;
/** The bytes of every stream are those of this pattern, from a place of its own: a lost, repeated or swapped byte shows. Longer than one read. */
const PATTERN_BYTES = 1_500_007;
const ONCE = randomBytes(PATTERN_BYTES);
const PATTERN = Buffer.concat([ONCE, ONCE]);
/** Around the size of one receive among many, that of a long one, and of small and large sends. */
const LENGTHS = [1, 10, 100, 1_000, 4_287, 4_288, 4_289, 8_576, 16_384, 16_385, 65_536, 200_000] as const;

type Draw = (below: number) => number;

/** One connection: a socket of the layer, its peer, and what either should receive. */
class Modelled {
  readonly socket: LayerSocket;
  readonly peer: Socket;
  readonly #origin: number;
  /** Bytes that the peer has sent, and those of them that were reported, as bytes or as moved ones. */
  written = 0;
  reported = 0;
  moved = 0;
  peerEnded = false;
  paused = true;
  /** Either side broke it off: the rest may be lost, but nothing else may come. */
  broken = false;
  /** `end` was called. */
  ended = false;
  /** What the peer should receive, and how much of it has come. */
  readonly #expected: Buffer[] = [];
  expectedBytes = 0;
  receivedBytes = 0;
  /** The receiver of a move from this one, and how many bytes are left of it. */
  receiver: Modelled | undefined;
  toMove = 0;
  /** The bytes of a move come here: nothing else may be sent. */
  receives = false;

  constructor(index: number, { socket, peer }: { socket: LayerSocket; peer: Socket }) {
    this.socket = socket;
    this.peer = peer;
    this.#origin = (index * 61_991) % PATTERN_BYTES;
  }

  pattern(at: number, length: number): Buffer {
    const start = (this.#origin + at) % PATTERN_BYTES;
    return PATTERN.subarray(start, start + length);
  }

  /** Bytes that came in place of the expected ones, and where the pattern has them. */
  describe(bytes: Buffer, isOfLayer: boolean): string {
    const expected = this.pattern(this.reported, bytes.length);
    const first = bytes.findIndex((byte, index) => byte !== expected[index]);
    const some = bytes.subarray(first, first + 16);
    const places = { came: PATTERN.indexOf(some), expected: PATTERN.indexOf(expected.subarray(first, first + 16)) };
    const { reported, written, moved, toMove, broken } = this;
    const state = { reported, written, moved, toMove, broken, isOfLayer, length: bytes.length, first, some: some.toString("hex"), places };
    return `other bytes came: ${JSON.stringify(state)}`;
  }

  get isOpen(): boolean {
    return !this.broken && this.socket.closes === 0;
  }

  get takesBytes(): boolean {
    return this.isOpen && !this.ended && !this.receives;
  }

  expect(bytes: Buffer): void {
    this.#expected.push(bytes);
    this.expectedBytes += bytes.length;
  }

  /** The peer receives bytes; false if others should come. */
  receive(chunk: Buffer): boolean {
    let at = 0;
    while (at < chunk.length) {
      const next = this.#expected[0];
      if (next === undefined) return false;
      const length = Math.min(next.length, chunk.length - at);
      if (!next.subarray(0, length).equals(chunk.subarray(at, at + length))) return false;
      at += length;
      this.receivedBytes += length;
      if (length === next.length) this.#expected.shift();
      else this.#expected[0] = next.subarray(length);
    }
    return true;
  }
}

/** Random acts on all sockets, within and outside of their events. */
class RandomTurns {
  readonly all: readonly Modelled[];
  readonly failures: string[] = [];
  readonly #below: Draw;
  /** False: the schedule is over, and events cause no more calls. */
  #active = true;
  /** Breaks off some of the sockets only. */
  readonly #breakable: number;
  readonly #transport: Transport;

  constructor(all: readonly Modelled[], { below, transport }: { below: Draw; transport: Transport }) {
    this.all = all;
    this.#below = below;
    this.#transport = transport;
    this.#breakable = Math.floor(all.length / 3);
    for (const one of all) this.#listen(one);
  }

  #check(what: string, holds: boolean): void {
    if (!holds) this.failures.push(what);
  }

  #listen(one: Modelled): void {
    const { socket, peer } = one;
    peer.on("data", (chunk: Buffer) => this.#check(`a peer received other bytes after ${one.receivedBytes}`, one.receive(chunk)));
    socket.onBytes = (memory, at, end) => {
      const length = end - at;
      this.#check("bytes of a paused socket came", !one.paused);
      this.#check("bytes came behind the end", socket.ends === 0);
      this.#check("bytes came that should be moved", one.toMove === 0 || !(one.receiver as Modelled).isOpen);
      const bytes = memory.subarray(at, end);
      if (!one.pattern(one.reported, length).equals(bytes)) this.failures.push(one.describe(bytes, memory === socket.layer.memory));
      one.reported += length;
      if (!this.#active) return;
      const other = this.#pick();
      if (this.#below(2) === 0 && other.takesBytes) {
        const from = at + this.#below(length);
        this.#send(other, Buffer.from(memory.subarray(from, end)), () => other.socket.layer.send(other.socket.id, memory, from, end));
      }
      if (this.#below(8) === 0) this.move(one, this.#pick());
      for (let count = this.#below(3); count > 0; count--) this.act();
    };
    socket.onMoved = () => {
      const bytes = socket.moved - one.moved;
      const { receiver } = one;
      this.#check("more was moved than should be", bytes <= one.toMove && receiver !== undefined);
      receiver?.expect(one.pattern(one.reported, bytes));
      one.reported += bytes;
      one.moved = socket.moved;
      one.toMove -= bytes;
      if (one.toMove === 0) this.#endMove(one);
    };
    socket.onEnd = () => {
      this.#check("the end of a paused socket came", !one.paused);
      this.#check("the end came before the last bytes", one.broken || (one.peerEnded && one.reported === one.written));
      this.#check("the end came twice", socket.ends === 1);
      this.#endMove(one);
    };
    socket.onClose = () => {
      this.#check(`a socket closed with ${socket.error?.code}`, one.broken || socket.error === undefined);
      this.#check("a socket closed before both ends", one.broken || (one.ended && socket.ends === 1));
      this.#endMove(one);
    };
  }

  #endMove(one: Modelled): void {
    one.toMove = 0;
    if (one.receiver !== undefined) one.receiver.receives = false;
    one.receiver = undefined;
  }

  #pick(): Modelled {
    return this.all[this.#below(this.all.length)] as Modelled;
  }

  #send(to: Modelled, bytes: Buffer, send: () => unknown): void {
    to.expect(bytes);
    send();
  }

  /** A peer sends some bytes, and maybe its end. */
  write(one: Modelled): void {
    if (one.broken || one.peerEnded || one.peer.writableLength > 0) return;
    const length = LENGTHS[this.#below(LENGTHS.length)] as number;
    one.peer.write(one.pattern(one.written, length));
    one.written += length;
    if (this.#below(40) > 0) return;
    one.peerEnded = true;
    one.peer.end();
  }

  move(from: Modelled, to: Modelled): void {
    if (from === to || from.toMove > 0 || !from.isOpen || from.socket.ends > 0 || !to.takesBytes) return;
    const bytes = 1 + this.#below(100_000);
    if (!from.socket.layer.move(from.socket.id, to.socket.id, bytes)) return;
    from.toMove = bytes;
    from.receiver = to;
    to.receives = true;
  }

  /** One random call of the layer. */
  act(): void {
    const one = this.#pick();
    const { layer, id } = one.socket;
    const which = this.#below(40);
    if (which < 12) {
      one.paused = false;
      layer.resume(id);
    } else if (which < 20) {
      one.paused = true;
      layer.pause(id);
    } else if (which < 34) {
      if (!one.takesBytes) return;
      const length = LENGTHS[this.#below(which < 30 ? 6 : LENGTHS.length)] as number;
      const bytes = randomBytes(length);
      if (which % 2 === 0 && length <= 16_384)
        this.#send(one, bytes, () => {
          bytes.copy(layer.memory, layer.place(id, length + 10));
          layer.placed(id, length);
        });
      else this.#send(one, bytes, () => layer.send(id, bytes, 0, length));
    } else if (which < 37) this.move(one, this.#pick());
    else if (which === 37 && one.takesBytes && this.#below(3) === 0) {
      one.ended = true;
      layer.end(id);
    } else this.#breakOff(which);
  }

  #breakOff(which: number): void {
    const one = this.all[this.#below(this.#breakable)] as Modelled;
    if (this.#below(5) > 0 || !one.isOpen || one.receives) return;
    one.broken = true;
    const { layer, id } = one.socket;
    if (which === 38) {
      this.#endMove(one);
      if (this.#below(2) === 0) layer.reset(id);
      else layer.close(id);
    } else if (this.#below(2) === 0 && this.#transport !== "Unix") one.peer.resetAndDestroy();
    else one.peer.destroy();
  }

  /** Resumes all, ends all peers, and waits for everything that must come: of connections that broke, only `onClose`. */
  async finish(): Promise<void> {
    this.#active = false;
    for (const one of this.all) {
      one.paused = false;
      one.socket.layer.resume(one.socket.id);
      one.peerEnded = true;
      if (!one.peer.writableEnded) one.peer.end();
    }
    const whole = this.all.filter((one) => !one.broken);
    await eventually(
      () => `ends of ${this.#states(whole, (one) => one.socket.ends === 1)}`,
      () => whole.every(({ socket }) => socket.ends === 1),
      10_000,
    );
    for (const { socket } of this.all) socket.layer.end(socket.id);
    for (const one of this.all) one.ended = true;
    const closes = (one: Modelled) => one.socket.closes === 1;
    await eventually(
      () => `closes of ${this.#states(this.all, closes)}`,
      () => this.all.every(closes),
      10_000,
    );
    const complete = (one: Modelled) => one.receivedBytes === one.expectedBytes && one.reported === one.written;
    await eventually(
      () => `all bytes of ${this.#states(whole, complete)}`,
      () => whole.every(complete),
      10_000,
    );
  }

  #states(all: readonly Modelled[], holds: (one: Modelled) => boolean): string {
    const states = all
      .filter((one) => !holds(one))
      .map(({ written, reported, expectedBytes, receivedBytes, paused, toMove, socket: { ends, closes } }) =>
        JSON.stringify({ written, reported, expectedBytes, receivedBytes, paused, toMove, ends, closes }),
      );
    return states.join("\n");
  }
}

/** `fewestCalls` receives or sends of a turn are made at once, until the kernel takes only a part of one submission. */
function openKind(name: string, { fewestCalls, whole = Infinity }: { fewestCalls?: number; whole?: number }): (typeof LAYERS)[number] {
  const libc = loadLibc();
  let left = Infinity;
  const limited: Libc = {
    ...libc,
    io_uring_enter: (fd, submit, ...more) => libc.io_uring_enter(fd, submit > 1 && left-- <= 0 ? submit - 1 : submit, ...more),
  };
  const ring = fewestCalls === undefined ? undefined : openRing(limited).ring;
  left = whole;
  return {
    name,
    open: (events) => new FfiSockets({ libc: limited, ring, ...(fewestCalls === undefined ? {} : { fewestCalls }) }, events, { poison: true }),
    transports: ["IPv4", "Unix"],
    turnBytes: Infinity,
  };
}

const KINDS = [
  () => openKind("without io_uring", {}),
  () => openKind("with io_uring", { fewestCalls: 1 }),
  () => openKind("with io_uring for 3 and more", { fewestCalls: 3 }),
  () => openKind("with io_uring until it fails", { fewestCalls: 1, whole: 40 }),
];

async function play(
  t: Parameters<typeof openPairs>[0],
  { seed, transport, open }: { seed: number; transport: Transport; open(): (typeof LAYERS)[number] },
) {
  const below = numbers(seed);
  const { stand, pair } = await openPairs(t, { kind: open(), transport });
  const all: Modelled[] = [];
  for (let index = 0; index < SOCKETS; index++) all.push(new Modelled(index, await pair()));
  const turns = new RandomTurns(all, { below, transport });
  for (let step = 0; step < STEPS && turns.failures.length === 0; step++) {
    for (let count = below(SOCKETS); count > 0; count--) turns.write(all[below(all.length)] as Modelled);
    for (let count = below(8); count > 0; count--) turns.act();
    for (let count = below(3); count > 0; count--) await nextTurn();
  }
  if (turns.failures.length === 0) await turns.finish();
  return { failures: turns.failures, stray: stand.stray };
}

for (const open of KINDS)
  for (const transport of ["IPv4", "Unix"] as const)
    t.test(`${open().name} over ${transport}: random calls in the same turns, from seed ${SEED}`, { timeout: (SECONDS + 60) * 1_000 }, async (t) => {
      const until = performance.now() + SECONDS * 1_000;
      for (let seed = SEED; seed < SEED + SEEDS || performance.now() < until; seed++)
        t.strictSame(await play(t, { seed, transport, open }), { failures: [], stray: 0 }, `seed ${seed}`);
    });
