/** A folder of `dockerfiles/` per language: one HTTP server that answers `GET /` and `GET /square?number=4`. It listens on 0.0.0.0, at PORT or 8080. */
const CONTAINER = `${JSON.stringify({ on_demand: true, shutdown_timeout: 10, cpu: 0.5, memory: 256, health: { path: "/" } }, undefined, 2)}\n`;

export const TEMPLATES = {
  node: {
    Dockerfile: `FROM node:24-slim
WORKDIR /app
COPY server.mjs ./
USER node
EXPOSE 8080
CMD ["node", "server.mjs"]
`,
    "container.json": CONTAINER,
    // A plain process of `npm start` runs below the package.json of berth, which would make a .js file a module of its kind.
    "server.mjs": `import { createServer } from "node:http";

const server = createServer((request, response) => {
  const url = new URL(request.url, "http://localhost");
  response.setHeader("content-type", "application/json");
  if (url.pathname === "/square") {
    const number = Number(url.searchParams.get("number"));
    return response.end(JSON.stringify({ result: number * number }));
  }
  response.end(JSON.stringify({ status: "ok" }));
});

const port = Number(process.env.PORT ?? 8080);
server.listen(port, "0.0.0.0", () => console.log(\`listening on port \${port}\`));
process.on("SIGTERM", () => server.close(() => process.exit(0)));
`,
  },
  python: {
    Dockerfile: `FROM python:3.13-slim
WORKDIR /app
COPY server.py ./
USER 65534
EXPOSE 8080
CMD ["python", "-u", "server.py"]
`,
    "container.json": CONTAINER,
    "server.py": `import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        url = urlparse(self.path)
        body = {"status": "ok"}
        if url.path == "/square":
            number = float(parse_qs(url.query).get("number", ["0"])[0])
            body = {"result": number * number}
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


port = int(os.environ.get("PORT", "8080"))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print(f"listening on port {port}")
ThreadingHTTPServer(("0.0.0.0", port), Handler).serve_forever()
`,
  },
  go: {
    Dockerfile: `FROM golang:1.25 AS build
WORKDIR /src
COPY go.mod main.go ./
RUN CGO_ENABLED=0 go build -o /server .

FROM scratch
COPY --from=build /server /server
EXPOSE 8080
CMD ["/server"]
`,
    "container.json": CONTAINER,
    "go.mod": "module api\n\ngo 1.25\n",
    "main.go": `package main

import (
	"encoding/json"
	"log"
	"net/http"
	"os"
	"strconv"
)

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("content-type", "application/json")
	json.NewEncoder(w).Encode(body)
}

func main() {
	http.HandleFunc("/square", func(w http.ResponseWriter, r *http.Request) {
		number, _ := strconv.ParseFloat(r.URL.Query().Get("number"), 64)
		answer(w, map[string]float64{"result": number * number})
	})
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { answer(w, map[string]string{"status": "ok"}) })
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	log.Printf("listening on port %s", port)
	log.Fatal(http.ListenAndServe("0.0.0.0:"+port, nil))
}
`,
  },
} as const satisfies Record<string, Record<string, string>>;
