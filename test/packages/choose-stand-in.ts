/** The configuration of an image, as the engine tells it. */
export type StandInConfig = {
  Entrypoint?: string[] | string | null;
  Cmd?: string[] | null;
  Env?: string[] | null;
  WorkingDir?: string;
  User?: string;
  ExposedPorts?: Record<string, unknown> | null;
  Healthcheck?: { Test?: string[] } | null;
};

/** What the stand-in program does in the place of a package's own. */
export type StandIn = {
  kind: "http" | "worker" | "database";
  /** Where the original listens; 0 for a worker. */
  host: string;
  port: number;
  /** How the port is known. */
  portFrom: string;
  /** The HTTP routes of the original; none if its sources are not in the package: then each path is answered. */
  routes: StandInRoute[];
  /** Paths that accept a WebSocket. */
  webSockets: string[];
};

export type StandInRoute = { method: string; path: string };

/** Programs that only start another one. */
const RUNNERS = [
  /^(?:\/(?:usr\/)?bin\/)?(?:ba|da)?sh -c /,
  /^(?:micromamba|mamba|conda) run (?:(?:-n|-p|--name|--prefix) \S+ )?/,
  /^docker-entrypoint\.sh /,
  /^exec /,
];

/** The command line that the container runs in the end, without shells and runners, with the variables of the image. */
export function commandLine({ Entrypoint, Cmd, Env }: StandInConfig): string {
  const env = new Map((Env ?? []).map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]));
  const words = [Entrypoint ?? [], Cmd ?? []].flat();
  let line = words.join(" ").replaceAll(/\s+/g, " ").trim();
  for (let runner = RUNNERS[0]; runner; runner = RUNNERS.find((one) => one.test(line))) line = line.replace(runner, "");
  return line.replaceAll(/\$(?:\{(\w+)\}|(\w+))/g, (written, braced?: string, bare?: string) => env.get(braced ?? bare ?? "") ?? written);
}

/** Chooses by the image's command, its base and the sources in the folder. */
export function chooseStandIn(config: StandInConfig, base: string, sources: ReadonlyMap<string, string>): StandIn {
  const line = commandLine(config);
  const none = { routes: [], webSockets: [] };
  if (/(?:^|\/|\s)celery\s.*\bworker\b/.test(line)) return { kind: "worker", host: "", port: 0, portFrom: "a queue worker listens nowhere", ...none };
  if (/^postgres\b/.test(line) || /(?:^|[/_])(?:postgres|demo_db)/.test(base))
    return { kind: "database", host: "0.0.0.0", port: 5432, portFrom: "PostgreSQL's own", ...none };
  const ordered = [...sources].toSorted(([a], [b]) => rank(line, a) - rank(line, b)).map(([, source]) => source);
  return { kind: "http", ...listener(line, ordered, config), routes: routesOf(ordered), webSockets: webSocketsOf(ordered) };
}

/** The file that the command starts comes first. */
function rank(line: string, path: string): number {
  const stem = (path.split("/").at(-1) ?? "").replace(/\.\w+$/, "");
  return line.split(/[\s/:]/).some((word) => word.replace(/\.\w+$/, "") === stem) ? 0 : 1;
}

const SOURCE_PORTS = [/\bport\s*[=:]\s*(\d{2,5})\b/i, /\b\d+\.\d+\.\d+\.\d+:(\d{2,5})\b/, /\.listen\(\s*(\d{2,5})\b/];

function listener(line: string, sources: readonly string[], config: StandInConfig): Pick<StandIn, "host" | "port" | "portFrom"> {
  const [program = ""] = line.split(" ");
  const flagged = Number(/(?:--port|-p)[ =](\d{2,5})\b/.exec(line)?.[1]);
  const flaggedHost = /--host[ =](\S+)/.exec(line)?.[1];
  const bound = /(?:-b|--bind)[ =](\S+):(\d{2,5})\b/.exec(line);
  if (bound) return { host: bound[1] ?? "", port: Number(bound[2]), portFrom: "its command" };
  // Both listen on loopback unless their command says otherwise.
  if (/^(?:\S*\/)?(?:uvicorn|gunicorn|hypercorn|flask)$/.test(program))
    return { host: flaggedHost ?? "127.0.0.1", port: flagged || (program === "flask" ? 5000 : 8000), portFrom: "its command" };
  for (const source of sources) {
    const port = SOURCE_PORTS.map((pattern) => Number(pattern.exec(source)?.[1])).find((found) => found > 0);
    // Flask's own default is loopback; servers of Node listen everywhere.
    const isOpen = /0\.0\.0\.0/.test(source) || !/\.run\(/.test(source);
    if (port !== undefined) return { host: isOpen ? "0.0.0.0" : "127.0.0.1", port, portFrom: "its source" };
  }
  if (flagged > 0) return { host: flaggedHost ?? "0.0.0.0", port: flagged, portFrom: "its command" };
  const exposed = Number.parseInt(Object.keys(config.ExposedPorts ?? {})[0] ?? "8080", 10);
  return { host: "0.0.0.0", port: exposed, portFrom: "EXPOSE, since its sources do not tell" };
}

/** `@app.route("/x", methods=["POST"])`, `@api.post("/x")`, `app.get("/x", …)`. */
const ROUTE = /(@?)\b\w+\.(route|get|post|put|delete|patch|all)\(\s*['"](\/[^'"]*)['"]([^)\n]*)/g;

function routesOf(sources: readonly string[]): StandInRoute[] {
  const routes = sources.flatMap((source) =>
    [...source.matchAll(ROUTE)].flatMap(([, , verb = "", path = "", rest = ""]) => {
      if (/upgradeWebSocket/.test(rest) || /[<{:*]/.test(path)) return [];
      const method = verb === "route" ? (/methods\s*=\s*\[\s*['"](\w+)/.exec(rest)?.[1] ?? "GET") : verb === "all" ? "POST" : verb.toUpperCase();
      return [{ method: method.toUpperCase(), path }];
    }),
  );
  return [...new Map(routes.map((route) => [`${route.method} ${route.path}`, route])).values()];
}

function webSocketsOf(sources: readonly string[]): string[] {
  const paths = sources.flatMap((source) => [
    ...[...source.matchAll(/@\w+\.websocket\(\s*['"]([^'"]+)['"]/g)].map(([, path = ""]) => path),
    ...[...source.matchAll(/\.get\(\s*['"]([^'"]+)['"]\s*,\s*upgradeWebSocket/g)].map(([, path = ""]) => path),
  ]);
  return [...new Set(paths)];
}
