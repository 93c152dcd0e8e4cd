import type { FastifyInstance } from "fastify";
import { Readable } from "node:stream";
import { Fault } from "../../lib/fault.ts";
import type { Published } from "../packages/publish/open-publisher.ts";
import { refuseForeignAuthor } from "../packages/publish/record-package.ts";
import type { Store } from "../store/open-store.ts";
import type { Authorization } from "./authorization.ts";
import type { ApiDeps } from "./api-deps.ts";
import { clientAbortSignal } from "./api-error.ts";
import { findLiveContainers } from "./find-entities.ts";
import { containerToJson, imageToJson } from "./entity-json.ts";
import { responses, CONTAINER, IMAGE } from "./schemas.ts";

type PackageRequest = { Params: Parameters<typeof parsePackageAddress>[0] };

const PUBLISH_QUERY = {
  type: "object",
  properties: {
    debug: { type: "boolean", default: false, description: "the images' tag is the developer's login" },
    rebuild: { type: "string", description: "accepted; nothing is built here" },
    dropDb: { type: "string", description: "accepted; there is no database of the package" },
    suffix: { type: "string", description: "accepted" },
  },
} as const;

const PUBLISHED = {
  type: "object",
  properties: {
    "#type": { type: "string" },
    id: { type: "string" },
    name: { type: "string" },
    version: { type: "string" },
    images: { type: "array", items: IMAGE },
    containers: { type: "array", items: CONTAINER },
    warnings: { type: "array", items: { type: "string" }, description: "for the author to read" },
  },
} as const;

const INCOMING_TYPES = ["application/zip", "application/octet-stream"];

/** Registered apart: here a body is a stream of bytes, whatever its Content-Type, and most clients send none. */
export function packageRoutes(app: FastifyInstance, { store, publisher }: ApiDeps, admission: Authorization): void {
  const tags = ["packages"];
  const config = { admits: "itself" } as const;
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", (_request, payload, done) => done(null, payload));

  for (const address of PACKAGE_ADDRESSES) {
    const params = {
      type: "object",
      properties: Object.fromEntries(
        address
          .split("/:")
          .slice(1)
          .map((name) => [name, { type: "string" }]),
      ),
    };

    app.get<PackageRequest>(
      `${address}/timestamps`,
      {
        config,
        schema: {
          tags,
          summary: "Which files need not be sent again: none",
          params,
          response: responses({ type: "object", additionalProperties: true }),
        },
      },
      (request) => {
        const { name, key } = parsePackageAddress(request.params);
        refuseForeignAuthor(store, name, admission.developer(request, key));
        return {};
      },
    );

    app.post<PackageRequest & { Querystring: { debug: boolean } }>(
      address,
      {
        config,
        schema: {
          tags,
          summary: "Publishes a package: a ZIP",
          consumes: INCOMING_TYPES,
          params,
          querystring: PUBLISH_QUERY,
          response: responses(PUBLISHED),
        },
      },
      async (request, reply) => {
        const { name, key } = parsePackageAddress(request.params);
        const user = admission.developer(request, key);
        if (!(request.body instanceof Readable)) throw new Fault("PACKAGE_INVALID", "The request has no body; a ZIP is needed.");
        const body = request.body;
        try {
          // The socket must outlive a refusal, or the client would see a broken connection in place of the reason.
          const bytes = body.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
          const published = await publisher.publish({ name, user, debug: request.query.debug, body: bytes, signal: clientAbortSignal(reply) });
          return reply.type("application/json; charset=utf-8").send(Readable.from(answerOf(store, published)));
        } finally {
          body.resume();
        }
      },
    );
  }
}

/** The three shapes in which the address of a package comes; a scope begins with `@`, and what stands before a name otherwise is a key. */
export const PACKAGE_ADDRESSES = ["/packages/dev/:name", "/packages/dev/:first/:name", "/packages/dev/:key/:scope/:name"] as const;

export type PackageAddress = {
  /** With its scope, where it has one. */
  name: string;
  /** The developer key, which older clients put here. */
  key: string | undefined;
};

export function parsePackageAddress(params: { key?: string; first?: string; scope?: string; name: string }): PackageAddress {
  const { key, first, scope, name } = params;
  if (scope !== undefined) return { name: `${scope}/${name}`, key };
  if (first?.startsWith("@")) return { name: `${first}/${name}`, key: undefined };
  return { name, key: first };
}

/** Folders of one piece of the answer: each piece is made in a turn of its own. */
const PIECE = 25;

/** The answer as JSON, in pieces: for 500 folders it has some megabytes. */
async function* answerOf(store: Store, { package: { id, name, version }, folders, warnings }: Published): AsyncGenerator<string> {
  const pieces = Array.from({ length: Math.ceil(folders.length / PIECE) }, (_, index) => folders.slice(index * PIECE, (index + 1) * PIECE));
  const images = (ids: string[]) => store.images.some(ids).map((image) => imageToJson(image, true, "cut"));
  const containers = (ids: string[]) => findLiveContainers(store, ids).map(({ container, image }) => containerToJson(container, image, true, "cut"));
  const list = async function* (rows: (piece: typeof folders) => object[]): AsyncGenerator<string> {
    let before = "";
    for (const piece of pieces) {
      await new Promise(setImmediate);
      for (const row of rows(piece)) {
        yield before + JSON.stringify(row);
        before = ",";
      }
    }
  };
  yield `${JSON.stringify({ "#type": "Package", id, name, version }).slice(0, -1)},"images":[`;
  yield* list((piece) => images(piece.map(({ imageId }) => imageId)));
  yield '],"containers":[';
  yield* list((piece) => containers(piece.map(({ containerId }) => containerId)));
  yield `],"warnings":${JSON.stringify(warnings)}}`;
}
