// Takes the place of a package's own program inside a container: listens, or works, as `stand-in.json` beside it says. Its arguments are the original's.
const fs = require("node:fs");
const http = require("node:http");
const net = require("node:net");
const path = require("node:path");
const { WebSocketServer } = require("ws");

const [program, ...args] = process.argv.slice(2);
const { kind, host, port, routes, webSockets } = JSON.parse(fs.readFileSync(path.join(__dirname, "stand-in.json"), "utf8"));
console.log(`stand-in for: ${[program, ...args].join(" ")}`);
process.on("SIGTERM", () => process.exit(0));

if (kind === "worker") work();
else serve();

/** Like a Celery worker: listens nowhere, connects to the broker again and again, and ends if its command line is incomplete. */
function work() {
  const queue = args[args.indexOf("-Q") + 1];
  if (args.includes("-Q") && !queue) {
    console.error("Error: Option '-Q' requires an argument.");
    process.exit(2);
  }
  const broker = { host: process.env.DATAGROK_AMPQ_HOST || "localhost", port: Number(process.env.DATAGROK_AMPQ_PORT || 5672) };
  const connect = () => {
    const socket = net.connect(broker, () => console.log(`connected to ${broker.host}:${broker.port}`));
    socket.on("error", (error) => console.log(`cannot connect to the broker: ${error.code}; trying again in 2 s`));
    socket.on("close", () => setTimeout(connect, 2_000));
  };
  console.log(`takes tasks from ${queue}`);
  connect();
}

function json(response, status, value) {
  // Exactly this: plugins compare it with ===.
  response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(value));
}

function serve() {
  const paths = new Set(routes.map((route) => route.path));
  const server = http.createServer((request, response) => {
    const [at] = request.url.split("?");
    const pieces = [];
    request.on("data", (piece) => pieces.push(piece));
    request.on("end", () => {
      const body = Buffer.concat(pieces).toString();
      console.log(`${request.method} ${request.url}`);
      if (routes.length > 0 && !paths.has(at)) return json(response, 404, { error: "Not found", path: at });
      if (at === "/mcp") return answerMcp(response, body);
      json(response, 200, { standIn: program, method: request.method, path: request.url, bytes: body.length });
    });
  });
  const sockets = new WebSocketServer({ noServer: true });
  server.on("upgrade", (request, socket, head) => {
    if (!webSockets.includes(request.url.split("?")[0])) return socket.end("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    sockets.handleUpgrade(request, socket, head, (webSocket) =>
      webSocket.on("message", (data, isBinary) => webSocket.send(data, { binary: isBinary })),
    );
  });
  server.listen(port, host, () => console.log(`listening on ${host}:${port}`));
}

/** MCP's streamable HTTP: the response to a JSON-RPC request is an event stream with one event. */
function answerMcp(response, body) {
  let request;
  try {
    request = JSON.parse(body);
  } catch {
    return json(response, 400, { jsonrpc: "2.0", error: { code: -32700, message: "Parse error" }, id: null });
  }
  const result = {
    protocolVersion: request.params?.protocolVersion,
    capabilities: { tools: {} },
    serverInfo: { name: "stand-in", version: "1.0.0" },
  };
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
  response.end(`event: message\ndata: ${JSON.stringify({ jsonrpc: "2.0", id: request.id, result })}\n\n`);
}
