import * as grpc from "@grpc/grpc-js";
import type { Clock } from "../../lib/clock.ts";
import { completesWithin } from "../../lib/deadline.ts";
import { AccessRecord, type ExchangeObserver } from "../access-record.ts";
import { ConnectionStream } from "../connections/connection-stream.ts";
import type { NetConnection } from "../connections/connection.ts";
import type { Head } from "../decision.ts";
import { containerErrorResponse } from "../direct-responses.ts";
import type { GatewayLimits } from "../limits.ts";
import { refuseResponse } from "./callout-response.ts";
import { CALLOUT_LABELS, decideOriginal, faultOf, type CalloutOutcome, type OriginalContext } from "./decide-original.ts";
import { allowCheck, CheckMalformed, denyCheck, readCheckRequest } from "./ext-authz-messages.ts";
import { originalRequest, PROXY_HEADER, SECRET_HEADER } from "./original-request.ts";

export type ExtAuthzDeps = OriginalContext & {
  isSecret(shown: string | undefined): boolean;
  observer: ExchangeObserver;
  limits: Pick<GatewayLimits, "keepAliveTimeoutMs">;
  clock: Clock;
};

/** Envoy's questions over gRPC. */
export type ExtAuthz = {
  /** Takes over a paused connection whose client speaks HTTP/2, with the bytes that came first. */
  accept(connection: NetConnection, first: Buffer): void;
  /** Accepts no more questions, and waits at most `ms` for open ones. */
  drain(ms: number): Promise<void>;
  close(): void;
};

/** A question has a head, which Envoy limits to 60 KiB, once or twice. */
const MAX_MESSAGE_BYTES = 262_144;
/** Questions of one connection that wait at a time: as many requests as one cluster of Envoy may have open. */
const MAX_STREAMS = 1_024;

const CHECK = "/envoy.service.auth.v3.Authorization/Check";
const LEFT = new Error("the proxy left");
const sameBytes = (bytes: Buffer) => bytes;

type CheckCall = grpc.ServerUnaryCall<Buffer, Buffer>;
type SendReply = grpc.sendUnaryData<Buffer>;

/** The service `envoy.service.auth.v3.Authorization`, on connections that others accept. */
export function openExtAuthz(deps: ExtAuthzDeps): ExtAuthz {
  const server = new grpc.Server({
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    "grpc.max_concurrent_streams": MAX_STREAMS,
    // As connections of HTTP/1.1 without a request; by default it waits for ever.
    "grpc.max_connection_idle_ms": deps.limits.keepAliveTimeoutMs,
    "grpc.enable_channelz": 0,
    interceptors: [secretInterceptor(deps.isSecret)],
  });
  server.addService({ check: unary(CHECK), health: unary("/grpc.health.v1.Health/Check") }, {
    check: (call: CheckCall, reply: SendReply) => void check(deps, call, reply),
    // `HealthCheckResponse` with SERVING.
    health: (_call: CheckCall, reply: SendReply) => reply(null, Buffer.from([8, 1])),
  } satisfies grpc.UntypedServiceImplementation);
  const injector = server.createConnectionInjector(grpc.ServerCredentials.createInsecure());
  const open = new Set<ConnectionStream>();
  let isClosed = false;
  let whenEmpty = () => {};
  const close = () => {
    isClosed = true;
    server.forceShutdown();
    for (const stream of open) stream.destroy();
  };
  return {
    accept: (connection, first) => {
      if (isClosed) return connection.destroy();
      const stream = new ConnectionStream(connection, first);
      open.add(stream);
      stream.once("close", () => {
        open.delete(stream);
        if (open.size === 0) whenEmpty();
      });
      injector.injectConnection(stream);
    },
    drain: async (ms) => {
      isClosed = true;
      // With GOAWAY. Its callback does not wait for sessions that have open streams.
      server.tryShutdown(() => undefined);
      if (open.size > 0) await completesWithin(new Promise<void>((resolve) => void (whenEmpty = resolve)), ms, deps.clock);
      close();
    },
    close,
  };
}

/** A method that takes and gives bytes: what is malformed gets a status of ours. */
function unary(path: string): grpc.MethodDefinition<Buffer, Buffer> {
  return {
    path,
    requestStream: false,
    responseStream: false,
    requestSerialize: sameBytes,
    requestDeserialize: sameBytes,
    responseSerialize: sameBytes,
    responseDeserialize: sameBytes,
  };
}

/** Refuses a call before its message is read. */
function secretInterceptor(isSecret: ExtAuthzDeps["isSecret"]): grpc.ServerInterceptor {
  return (_method, call) =>
    new grpc.ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, proceed) => {
            const shown = metadata.get(SECRET_HEADER);
            if (shown.length <= 1 && isSecret(shown[0]?.toString())) return proceed(metadata);
            const details = `${SECRET_HEADER} is missing or wrong: initial_metadata must have the value of BERTH_CALLOUT_SECRET`;
            call.sendStatus({ code: grpc.status.PERMISSION_DENIED, details });
          },
        }),
    });
}

async function check(deps: ExtAuthzDeps, call: CheckCall, reply: SendReply): Promise<void> {
  const { observer, clock, log } = deps;
  const left = new AbortController();
  // Also when its deadline is over.
  call.on("cancelled", () => left.abort(LEFT));
  const [peer = ""] = call.getPeer().split(" ", 1);
  const record = new AccessRecord(observer, clock, { method: "POST", target: CHECK, header: () => undefined }, peer, "h2");
  const answer = (status: number, bytes: Buffer) => {
    record.answered(status);
    record.countBytes(bytes.length, "container");
    record.finish("answered");
    reply(null, bytes);
  };
  record.countBytes(call.request.length, "client");
  record.decided(CALLOUT_LABELS);
  try {
    const head = readCheckRequest(call.request);
    const outcome = await outcomeOf(deps, call, head, left.signal);
    record.decided(outcome.labels);
    if (outcome.kind === "allow") return answer(200, Buffer.from(allowCheck(head, outcome.allowed)));
    const refusal = refuseResponse("envoy", outcome.answer);
    answer(refusal.status, Buffer.from(denyCheck(refusal)));
  } catch (error) {
    if (left.signal.aborted) return record.finish("left");
    if (error instanceof CheckMalformed) {
      record.finish("cut");
      return reply({ code: grpc.status.INVALID_ARGUMENT, details: error.message });
    }
    const fault = faultOf(error, log);
    record.failed(fault.code);
    const refusal = refuseResponse("envoy", containerErrorResponse(fault));
    answer(refusal.status, Buffer.from(denyCheck(refusal)));
  }
}

function outcomeOf(deps: ExtAuthzDeps, { metadata }: CheckCall, head: Head, signal: AbortSignal): Promise<CalloutOutcome> {
  const incoming = { head, peer: { address: "" }, tls: false, signal };
  const request = originalRequest(incoming, { style: "envoy", method: head.method, target: head.target });
  return decideOriginal(deps, { request, proxy: metadata.get(PROXY_HEADER)[0]?.toString() ?? "envoy" });
}
