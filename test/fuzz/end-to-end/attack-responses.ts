import { createServer, type Socket } from "node:net";
import type { Test } from "tap";
import { listen } from "../../fixtures/server.ts";
import type { GatewayFixture } from "../../gateway/stand.ts";
import { parseJudged, type Judge, type JudgedMessage } from "../judge.ts";
import { describe, laneId, type AttackTally } from "./attack-requests.ts";
import { sendRaw, type RawReply } from "./raw-client.ts";
import { responseAttack, type ResponseAttack } from "./response-attacks.ts";

type AttackRun = { stand: Pick<GatewayFixture, "port" | "set">; judge: Judge; seed: number; numbers: readonly number[]; secured?: boolean };

const LANES = 16;
const LINES = "Host: berth\r\nAuthorization: token\r\n";
/** On a slow machine the client has ended its direction before, and berth probes it with interim responses (RFC 9110 §15.2). */
const OWN_RESPONSE = /^(?:HTTP\/1\.1 100 Continue\r\n\r\n)*HTTP\/1\.1 200 /;
/** When a container that ends its connection does so: later than the gateway needs to read what came before. */
const ENDS_AFTER_MS = 40;

type PlayedAnswer = { attack: ResponseAttack; reply: RawReply; victim: RawReply };

/**
 * Lets a container answer with odd responses. The client has another request behind the first one, and another client follows. Each must get its own
 * response, and no byte of what follows the odd one as a response; what passes must mean the same to h11 as what the container sent.
 */
export async function attackResponses(t: Pick<Test, "teardown">, { stand, judge, seed, numbers, secured = false }: AttackRun): Promise<AttackTally> {
  const [...left] = numbers;
  const played: PlayedAnswer[] = [];
  const play = async (_: unknown, lane: number) => {
    const id = laneId(lane);
    const prefix = `/api/docker/containers/proxy/${id}`;
    const container = await openAnsweringContainer(t);
    stand.set(id, { kind: "awake", address: container.address });
    for (let nth = left.shift(); nth !== undefined; nth = left.shift()) {
      const attack = responseAttack(nth, seed);
      container.next(attack);
      const request = (method: string, what: string, line = "") => `${method} ${prefix}/${attack.name}/${what} HTTP/1.1\r\n${LINES}${line}\r\n`;
      const reply = await sendRaw({ port: stand.port, secured }, [request(attack.method, "odd") + request("GET", "behind", "Connection: close\r\n")]);
      const victim = await sendRaw({ port: stand.port, secured }, [request("GET", "victim", "Connection: close\r\n")]);
      played.push({ attack, reply, victim });
    }
  };
  await Promise.all(Array.from({ length: LANES }, play));
  const methods = played.map(({ attack }) => [attack.method, "GET"]);
  const passed = await judge.judge(
    played.map(({ reply }, at) => ({
      kind: reply.end === "ended" ? "responsesThatEnd" : "responses",
      methods: methods[at] ?? [],
      sent: bytesOf(reply.received),
    })),
  );
  const sent = await judge.judge(
    played.map(({ attack }, at) => ({
      kind: attack.afterwards === "ends" ? "responsesThatEnd" : "responses",
      methods: methods[at] ?? [],
      sent: bytesOf(attack.answer),
    })),
  );
  const tally: AttackTally = { attacks: played.length, messages: 0, refused: 0, failures: [] };
  for (const [at, one] of played.entries()) judgeAnswer(tally, one, parseJudged(passed[at] ?? ""), parseJudged(sent[at] ?? ""));
  return tally;
}

function judgeAnswer(tally: AttackTally, { attack, reply, victim }: PlayedAnswer, passed: JudgedMessage[], sent: JudgedMessage[]): void {
  const finals = passed.filter(isFinal);
  const [first, second] = finals;
  const [original] = sent.filter(isFinal);
  const own = ownOf(reply.received);
  const refused = first?.first === "502";
  tally.messages += finals.length;
  if (refused) tally.refused++;
  const behind = `/${attack.name}/behind`;
  const problems = {
    // An interim response has no body, whatever length it declares (RFC 9112 §6.3): behind it, this is the final response.
    "a hidden response passed as one": finals.some(
      ({ lines }, nth) => lines.includes("hidden") && (nth > 0 || original?.lines.includes("hidden") !== true),
    ),
    "the client got more responses than requests": finals.length > 2 || (second !== undefined && own.at(-1) !== behind),
    "the second response is not its own": second !== undefined && second.complete && !second.lines.includes(behind),
    "it means something else than what the container sent":
      first !== undefined && !refused && first.complete && (original === undefined || original.first !== first.first || original.body !== first.body),
    "the next client did not get its own response": ownOf(victim.received).join() !== `/${attack.name}/victim` || !OWN_RESPONSE.test(victim.received),
    // The rest of a response is waited for, also for a client that has ended its direction.
    "the gateway did not close the connection": reply.end === "open" && (attack.afterwards !== "waits" || first?.complete === true),
  };
  const failed = Object.entries(problems).flatMap(([what, is]) => (is ? [what] : []));
  if (failed.length > 0)
    tally.failures.push(
      describe(failed, { method: attack.method, answer: attack.answer, afterwards: attack.afterwards, reply, victim: victim.received }),
    );
}

function isFinal({ first }: JudgedMessage): boolean {
  return Number(first) >= 200;
}

function ownOf(received: string): string[] {
  return [...received.matchAll(/^x-own: (.*)\r$/gim)].map(([, own]) => own ?? "");
}

function bytesOf(text: string): Buffer {
  return Buffer.from(text, "latin1");
}

/** A container that answers one request with an attack, and any other with its own target in a header. */
async function openAnsweringContainer(t: Pick<Test, "teardown">) {
  let attack: ResponseAttack | undefined;
  const answer = (socket: Socket, target: string) => {
    // An earlier attack has just ended this connection: the gateway repeats the request over another one.
    if (!socket.writable) return;
    if (!target.endsWith("/odd") || attack === undefined)
      return void socket.write(`HTTP/1.1 200 OK\r\nX-Own: ${target}\r\nContent-Length: 3\r\n\r\nown`);
    const { afterwards } = attack;
    socket.write(bytesOf(attack.answer));
    attack = undefined;
    if (afterwards === "ends") setTimeout(() => socket.end(), ENDS_AFTER_MS);
    if (afterwards === "resets") setTimeout(() => socket.resetAndDestroy(), ENDS_AFTER_MS);
  };
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    let held = "";
    socket.setEncoding("latin1").on("error", () => undefined);
    socket.once("end", () => socket.end());
    socket.on("data", (text: string) => {
      held += text;
      for (let end = held.indexOf("\r\n\r\n"); end !== -1; end = held.indexOf("\r\n\r\n")) {
        const [, target = ""] = held.split(" ", 2);
        held = held.slice(end + 4);
        answer(socket, target);
      }
    });
  });
  const address = await listen(t, server);
  return { address, next: (one: ResponseAttack) => void (attack = one) };
}
