import { crc32 } from "node:zlib";
import type { GatewayFixture } from "../../gateway/stand.ts";
import { parseJudged, type Judge } from "../judge.ts";
import { sendRaw, type RawReply } from "./raw-client.ts";
import type { RecordingServer } from "./recording-servers.ts";
import { requestAttack, type RequestAttack } from "./request-attacks.ts";

/** `messages`: how many requests or responses have passed the gateway. */
export type AttackTally = { attacks: number; messages: number; refused: number; failures: string[] };

type AttackRun = {
  stand: Pick<GatewayFixture, "port" | "set">;
  server: RecordingServer;
  judge: Judge;
  seed: number;
  /** Numbers of the attacks. */
  numbers: readonly number[];
  secured?: boolean;
};

/** So many attacks at a time, each at a container of its own, so that no other one uses its connections. */
const LANES = 16;
const LINES = "Host: berth\r\nAuthorization: token\r\n";

type PlayedAttack = { attack: RequestAttack; prefix: string; reply: RawReply; victim: RawReply };

/**
 * Sends attacks through a gateway to a server, and after each an ordinary request of another client over the same pool of connections. The server must
 * have seen exactly the requests that the gateway answered, these must be the ones that h11 reads in what was sent, and the other client must get its own
 * response.
 */
export async function attackRequests({ stand, server, judge, seed, numbers, secured = false }: AttackRun): Promise<AttackTally> {
  const [...left] = numbers;
  const played: PlayedAttack[] = [];
  const play = async (_: unknown, lane: number) => {
    const id = laneId(lane);
    const prefix = `/api/docker/containers/proxy/${id}`;
    stand.set(id, { kind: "awake", address: server.address });
    for (let nth = left.shift(); nth !== undefined; nth = left.shift()) {
      const attack = requestAttack(nth, { seed, prefix, lines: LINES });
      const reply = await sendRaw({ port: stand.port, secured }, attack.pieces);
      const ordinary = `GET ${prefix}/${attack.name}/victim HTTP/1.1\r\n${LINES}Connection: close\r\n\r\n`;
      played.push({ attack, prefix, reply, victim: await sendRaw({ port: stand.port, secured }, [ordinary]) });
    }
  };
  await Promise.all(Array.from({ length: LANES }, play));
  return judged(played, server.seen(), await readings(judge, played));
}

export function laneId(lane: number): string {
  return `00000000-0000-4000-8000-${String(lane).padStart(12, "0")}`;
}

/** What h11 reads in the bytes of each client, as the servers write it. */
async function readings(judge: Judge, played: readonly PlayedAttack[]): Promise<string[][]> {
  const sent = played.map(({ attack }) => Buffer.from(attack.pieces.join(""), "latin1"));
  const texts = await judge.judge(sent.map((stream) => ({ kind: "requestsOfClient", methods: [], sent: stream })));
  return texts.map((text, at) =>
    parseJudged(text)
      .filter(({ complete }) => complete)
      .map(({ first, second, body }) => {
        const bytes = Buffer.from(body, "latin1");
        return `${first} ${second.replace(played[at]?.prefix ?? "", "")} ${bytes.length} ${crc32(bytes)}`;
      }),
  );
}

function judged(played: readonly PlayedAttack[], seen: readonly string[], readByH11: readonly string[][]): AttackTally {
  const tally: AttackTally = { attacks: played.length, messages: 0, refused: 0, failures: [] };
  const byName = Map.groupBy(seen, (line) => /^\S+ \/(attack-\d+)\//.exec(line)?.[1] ?? "");
  for (const [at, { attack, reply, victim }] of played.entries()) {
    const ofVictim = `GET /${attack.name}/victim 0 0`;
    const all = byName.get(attack.name) ?? [];
    byName.delete(attack.name);
    const behind = all.filter((line) => line !== ofVictim);
    const answered = answeredIn(reply);
    const expected = readByH11[at] ?? [];
    tally.messages += behind.length;
    if (!reply.received.includes(`/${attack.name}/last `)) tally.refused++;
    const problems = {
      // A client that ends its direction within a request wants no answer to it, so the last one may be missing.
      "the server saw other requests than were answered": !sameButLast(answered, behind, reply.halfClosed),
      "the server saw other requests than h11 reads in what was sent": behind.some((line, nth) => line !== expected[nth]),
      "the server saw a request with a length beside chunks": attack.isAmbiguous && behind.some((line) => line.includes(`/${attack.name}/odd `)),
      "the next client did not get its own response": answeredIn(victim).join() !== ofVictim || all.filter((line) => line === ofVictim).length !== 1,
      "the gateway did not close the connection": reply.end === "open",
    };
    const failed = Object.entries(problems).flatMap(([what, is]) => (is ? [what] : []));
    if (failed.length > 0)
      tally.failures.push(describe(failed, { sent: attack.pieces, received: reply.received, behind, expected, victim: victim.received }));
  }
  for (const [name, lines] of byName) tally.failures.push(`The server saw requests of no attack that ran (${name}): ${lines.slice(0, 5).join(", ")}`);
  return tally;
}

function answeredIn({ received }: RawReply): string[] {
  return [...received.matchAll(/^x-seen: (.*)\r$/gim)].map(([, line]) => line ?? "");
}

function sameButLast(answered: readonly string[], behind: readonly string[], mayMiss: boolean): boolean {
  const missing = behind.length - answered.length;
  return (missing === 0 || (mayMiss && missing === 1)) && answered.every((line, nth) => line === behind[nth]);
}

export function describe(what: readonly string[], details: Record<string, unknown>): string {
  const lines = Object.entries(details).map(([name, value]) => `  ${name.padEnd(8)} ${JSON.stringify(value).slice(0, 3_000)}`);
  return [what.join("; "), ...lines].join("\n");
}
