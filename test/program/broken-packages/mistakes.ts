/** One broken package of an author: what is wrong, its files, and what repairs it. */
export type Mistake = {
  /** Package and container have this name. */
  name: string;
  title: string;
  /** What is wrong in the files, for the page. */
  wrong: string;
  repair: string;
  /** After `FROM`, without `COPY`. */
  dockerfile: string;
  /** The program; a text in JavaScript, or the bytes of a program. */
  program: string | Uint8Array;
  json?: object;
  /** What the base image is built for, if that is not the server's platform. */
  platform?: string;
  /** How its request ends; undefined: the publish is refused, so there is no container. */
  status?: number;
};

const serve = (host: string, port: number) =>
  `require("node:http").createServer((request, response) => response.end("it works\\n"))
  .listen(${port}, "${host}", () => console.log("listening on ${host}:${port}"));\n`;
const NODE = 'CMD ["node", "/server"]';

/** The head of a Linux program for ARM processors of 64 bits: a kernel for others refuses it by these bytes. */
function armProgram(): Uint8Array {
  const head = Buffer.alloc(120);
  head.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  head.writeUInt16LE(2, 16);
  head.writeUInt16LE(0xb7, 18);
  head.writeUInt32LE(1, 20);
  head.writeBigUInt64LE(64n, 32);
  head.writeUInt16LE(64, 52);
  head.writeUInt16LE(56, 54);
  head.writeUInt16LE(1, 56);
  return head;
}

/** By the frequency of the mistakes. */
export const MISTAKES: readonly Mistake[] = [
  {
    name: "wrong-port",
    title: "Another port than EXPOSE",
    wrong: "`EXPOSE 5001`; the program listens on `0.0.0.0:5000`",
    repair: "Change `EXPOSE` to 5000, or name the port in `container.json`.",
    dockerfile: `EXPOSE 5001\n${NODE}`,
    program: serve("0.0.0.0", 5000),
    status: 500,
  },
  {
    name: "localhost-only",
    title: "Only on localhost",
    wrong: "the program listens on `127.0.0.1:5000`, which nothing outside of the container reaches",
    repair: 'Listen on `0.0.0.0`. Flask: `app.run(host="0.0.0.0")`; uvicorn: `--host 0.0.0.0`.',
    dockerfile: `EXPOSE 5000\n${NODE}`,
    program: serve("127.0.0.1", 5000),
    status: 500,
  },
  {
    name: "slow-boot",
    title: "Slow boot",
    wrong: "the program loads its model for longer than a start may take",
    repair: "Raise `containerStatusTimeoutMinutes` (administrators), load less before it listens, or keep it warm (`keep_warm`).",
    dockerfile: `EXPOSE 5000\n${NODE}`,
    program: `console.log("loading the model");\nsetTimeout(() => {\n${serve("0.0.0.0", 5000)}}, 600_000);\n`,
    status: 500,
  },
  {
    name: "crash",
    title: "Crash",
    wrong: "the program ends with exit code 1",
    repair: "Read the log tail; it is in the answer, in `berth explain` and in the console.",
    dockerfile: `EXPOSE 5000\n${NODE}`,
    program: `console.error("reading /model/weights.bin");\nconsole.error("no model file");\nprocess.exit(1);\n`,
    status: 500,
  },
  {
    name: "memory",
    title: "Too little memory",
    wrong: "the program takes more than the 64 MB of its `memory`",
    repair: "Raise `memory` in `container.json`.",
    dockerfile: `EXPOSE 5000\n${NODE}`,
    program: `console.log("reading the model");\nconst model = [];\nsetInterval(() => model.push(Buffer.alloc(16 * 1024 * 1024, 1)), 1);\n`,
    json: { memory: 64 },
    status: 500,
  },
  {
    name: "no-expose",
    title: "No EXPOSE",
    wrong: "the Dockerfile has no `EXPOSE`, and `container.json` no `port`",
    repair: "Add `EXPOSE 5000` to the last stage of the Dockerfile.",
    dockerfile: NODE,
    program: serve("0.0.0.0", 5000),
    status: 400,
  },
  {
    name: "two-expose",
    title: "Two EXPOSE",
    wrong: "`EXPOSE 8888 5000`; berth takes the first, the program listens on 5000",
    repair: "Remove the other port from `EXPOSE`, or name the right one by `port` in `container.json`.",
    dockerfile: `EXPOSE 8888 5000\n${NODE}`,
    program: serve("0.0.0.0", 5000),
    status: 500,
  },
  {
    name: "bad-key",
    title: "A misspelt key",
    wrong: '`container.json` has `"shutdown_timout": 5`',
    repair: "Write the key as the note says. The container runs, but without that setting.",
    dockerfile: `EXPOSE 5000\n${NODE}`,
    program: serve("0.0.0.0", 5000),
    json: { shutdown_timout: 5 },
    status: 200,
  },
  {
    name: "bad-value",
    title: "Wrong values",
    wrong: '`container.json` has `"cpu": "many"`, `"memory": -1` and `"on_demand": "yes"`',
    repair: "Correct all of them; nothing is built or published before.",
    dockerfile: `EXPOSE 5000\n${NODE}`,
    program: serve("0.0.0.0", 5000),
    json: { cpu: "many", memory: -1, on_demand: "yes" },
  },
  {
    name: "wrong-architecture",
    title: "Wrong architecture",
    wrong: "image and program are built for ARM, as on a Mac; the server runs on x64",
    repair:
      "Build with `--platform linux/amd64`, or for several platforms. `berth publish` and `grok publish` do that with a registry; a program that is copied into the image must fit too.",
    dockerfile: `EXPOSE 5000\nCMD ["/server"]`,
    program: armProgram(),
    platform: "linux/arm64",
    status: 500,
  },
];
