import * as grpc from "@grpc/grpc-js";
import t, { type Test } from "tap";
import { eventually } from "../../fixtures/eventually.ts";
import { ID, PATH } from "../stand.ts";
import { openHttp2Stand, type Http2Stand } from "./fixture.ts";

const asBytes = (bytes: Buffer) => bytes;

/** A method that takes and gives bytes, at its path as the server has it. */
function method(name: string, requestStream: boolean, responseStream: boolean, prefix = "") {
  return {
    path: `${prefix}/demo.Echo/${name}`,
    requestStream,
    responseStream,
    requestSerialize: asBytes,
    requestDeserialize: asBytes,
    responseSerialize: asBytes,
    responseDeserialize: asBytes,
  };
}

function service(prefix = "") {
  return {
    unary: method("Unary", false, false, prefix),
    serverStream: method("ServerStream", false, true, prefix),
    clientStream: method("ClientStream", true, false, prefix),
    both: method("Both", true, true, prefix),
  };
}

/** A container with a server of gRPC; `cancelled` counts calls that their client gave up. */
async function openGrpcContainer(t: Test, stand: Http2Stand) {
  const server = new grpc.Server();
  const received = { cancelled: 0, metadata: new grpc.Metadata() };
  const calls: grpc.UntypedServiceImplementation = {
    unary: ({ request, metadata }: grpc.ServerUnaryCall<Buffer, Buffer>, answer: grpc.sendUnaryData<Buffer>) => {
      received.metadata = metadata;
      if (request.toString() === "fail")
        return answer({ code: grpc.status.FAILED_PRECONDITION, details: "déjà vu", metadata: metadataOf("x-why", "requested") });
      return answer(null, request, metadataOf("x-after", "1"));
    },
    serverStream: (call: grpc.ServerWritableStream<Buffer, Buffer>) => {
      for (let at = 0; at < 1_000; at++) call.write(Buffer.concat([call.request, Buffer.from(String(at))]));
      call.end();
    },
    clientStream: (call: grpc.ServerReadableStream<Buffer, Buffer>, answer: grpc.sendUnaryData<Buffer>) => {
      let bytes = 0;
      call.on("data", (piece: Buffer) => (bytes += piece.length));
      call.once("end", () => answer(null, Buffer.from(String(bytes))));
    },
    both: (call: grpc.ServerDuplexStream<Buffer, Buffer>) => {
      call.on("cancelled", () => received.cancelled++);
      call.on("data", (piece: Buffer) => call.write(piece));
      call.once("end", () => call.end());
    },
  };
  server.addService(service(), calls);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, bound) => (error === null ? resolve(bound) : reject(error)));
  });
  t.teardown(() => server.forceShutdown());
  stand.set(ID, { kind: "awake", address: { host: "127.0.0.1", port, h2c: true } });
  return received;
}

function metadataOf(name: string, value: string): grpc.Metadata {
  const metadata = new grpc.Metadata();
  metadata.set(name, value);
  return metadata;
}

/** A client whose calls go through the gateway. */
function openClient(t: Test, { port, cert }: Http2Stand) {
  const Client = grpc.makeGenericClientConstructor(service(PATH), "Echo");
  const client = new Client(`localhost:${port}`, grpc.credentials.createSsl(Buffer.from(cert)));
  t.teardown(() => client.close());
  type Streamed = grpc.ClientReadableStream<Buffer> & grpc.ClientWritableStream<Buffer>;
  const call = (name: string) => client[name]?.bind(client) as (...args: unknown[]) => Streamed;
  return { unary: call("unary"), serverStream: call("serverStream"), clientStream: call("clientStream"), both: call("both") };
}

const SIGNED_IN = metadataOf("authorization", "token");

t.test("a unary call, with its metadata and its status", async (t) => {
  const stand = await openHttp2Stand(t);
  const received = await openGrpcContainer(t, stand);
  const { unary } = openClient(t, stand);
  const sent = metadataOf("authorization", "token");
  sent.set("x-bytes-bin", Buffer.from([0, 1, 255]));
  const trailers = await new Promise<grpc.Metadata>((resolve, reject) => {
    unary(Buffer.from("hello"), sent, (error: Error | null, answer: Buffer) => {
      if (error !== null) reject(error);
      else t.equal(answer.toString(), "hello");
    }).on("status", ({ metadata }: grpc.StatusObject) => resolve(metadata));
  });
  t.same(trailers.get("x-after"), ["1"]);
  t.same(received.metadata.get("x-bytes-bin"), [Buffer.from([0, 1, 255])]);
  const failed = await new Promise<grpc.ServiceError>((resolve) => void unary(Buffer.from("fail"), sent, resolve));
  t.match(failed, { code: grpc.status.FAILED_PRECONDITION, details: "déjà vu" });
  t.same(failed.metadata.get("x-why"), ["requested"]);
});

t.test("a call without a token, and one of a method that does not exist", async (t) => {
  const stand = await openHttp2Stand(t);
  await openGrpcContainer(t, stand);
  const { unary } = openClient(t, stand);
  const refused = await new Promise<grpc.ServiceError>((resolve) => void unary(Buffer.from("x"), new grpc.Metadata(), resolve));
  t.equal(refused.code, grpc.status.UNAUTHENTICATED);
  const Client = grpc.makeGenericClientConstructor({ none: method("None", false, false, PATH) }, "None");
  const client = new Client(`localhost:${stand.port}`, grpc.credentials.createSsl(Buffer.from(stand.cert)));
  t.teardown(() => client.close());
  const unknown = await new Promise<grpc.ServiceError>((resolve) => void client["none"]?.(Buffer.from("x"), SIGNED_IN, resolve));
  t.equal(unknown.code, grpc.status.UNIMPLEMENTED);
});

t.test("a stream of the server, and one of the client", async (t) => {
  const stand = await openHttp2Stand(t);
  await openGrpcContainer(t, stand);
  const { serverStream, clientStream } = openClient(t, stand);
  const received: string[] = [];
  await new Promise<void>((resolve, reject) => {
    const stream = serverStream(Buffer.from("n"), SIGNED_IN);
    stream.on("data", (piece: Buffer) => received.push(piece.toString()));
    stream.once("end", resolve);
    stream.once("error", reject);
  });
  t.equal(received.length, 1_000);
  t.equal(received[999], "n999");
  const bytes = await new Promise<string>((resolve, reject) => {
    const stream = clientStream(SIGNED_IN, (error: Error | null, answer: Buffer) => (error === null ? resolve(answer.toString()) : reject(error)));
    for (let at = 0; at < 100; at++) stream.write(Buffer.alloc(30_000));
    stream.end();
  });
  t.equal(bytes, "3000000");
});

t.test("a stream in both directions: each message is answered before the next is sent; a cancel reaches the container", async (t) => {
  const stand = await openHttp2Stand(t);
  const container = await openGrpcContainer(t, stand);
  const { both } = openClient(t, stand);
  const stream = both(SIGNED_IN);
  const received: string[] = [];
  stream.on("data", (piece: Buffer) => received.push(piece.toString()));
  for (let at = 0; at < 20; at++) {
    stream.write(Buffer.from(`message ${at}`));
    await eventually("its echo", () => received.at(-1) === `message ${at}`);
  }
  const status = new Promise<grpc.StatusObject>((resolve) => void stream.once("status", resolve));
  stream.end();
  t.equal((await status).code, grpc.status.OK);
  // Its server reports the end of such a call as a cancel, too.
  await eventually("its end", () => container.cancelled === 1);

  const other = both(SIGNED_IN);
  other.on("error", () => undefined);
  let echoed = 0;
  other.on("data", () => echoed++);
  other.write(Buffer.from("x"));
  await eventually("an echo", () => echoed === 1);
  other.cancel();
  await eventually("the cancel", () => container.cancelled === 2);
});

t.test("a call waits for a container that sleeps", async (t) => {
  const stand = await openHttp2Stand(t);
  const other = await openHttp2Stand(t);
  await openGrpcContainer(t, other);
  const view = other.directory.cached(ID, { token: "token", userId: "", login: "", admin: false });
  stand.set(ID, { kind: "asleep" });
  stand.onWake((id) => stand.set(id, view?.availability ?? { kind: "asleep" }));
  const { unary } = openClient(t, stand);
  const answer = await new Promise<Buffer>((resolve, reject) => {
    unary(Buffer.from("woken"), SIGNED_IN, (error: Error | null, came: Buffer) => (error === null ? resolve(came) : reject(error)));
  });
  t.equal(answer.toString(), "woken");
});
