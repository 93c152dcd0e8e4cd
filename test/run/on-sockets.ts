import { SOCKET_KINDS, type SocketKind } from "../fixtures/connections.ts";

/** The tests that `npm run test:sockets` runs: those whose gateways work on the kind of sockets that `BERTH_SOCKETS` names, in this process or another. */
export const ON_SOCKETS = [
  "test/gateway/**/*.test.ts",
  "test/correctness/splice*.test.ts",
  "test/fuzz/**/*.test.ts",
  // Whole installations: what users do, and what survives the death of a container, of control, of the engine and of all of berth.
  "test/program/{main-job,tcp-containers,h2c-container}.test.ts",
  "test/program/recovery/{killed,process-died,frozen,engine-restarts}.test.ts",
  "test/processes/{drain,keep-alive,control-away}.test.ts",
];

/** Throws for a kind that does not exist. */
export function socketKindOf(word: string | undefined): SocketKind {
  const kind = SOCKET_KINDS.find((one) => one === word);
  if (kind === undefined) throw new Error(`npm run test:sockets -- ${SOCKET_KINDS.join("|")}`);
  return kind;
}
