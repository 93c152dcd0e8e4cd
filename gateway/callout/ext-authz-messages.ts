import { isUtf8 } from "node:buffer";
import protobuf from "protobufjs";
import { isFieldValue } from "../../lib/character-classes.ts";
import { Fault } from "../../lib/fault.ts";
import type { DirectResponse, Head } from "../decision.ts";
import {
  type AllowedRequest,
  BERTH_HEADERS,
  EDGE_HEADER,
  EDITED_HEADERS,
  editedValue,
  ENVOY_UPSTREAM_HEADER,
  upstreamOf,
} from "./callout-response.ts";

/**
 * The messages of Envoy's `envoy.service.auth.v3.Authorization/Check`, with the fields that berth reads or writes. Names and numbers are Envoy's; other
 * fields are skipped. A field of `bytes` here may be a `string` there: both are written alike, and headers need not be UTF-8.
 */
const { root } = protobuf.parse(
  `syntax = "proto3";
  message CheckRequest { AttributeContext attributes = 1; }
  message AttributeContext { Peer source = 1; Request request = 4; }
  message Peer { Address address = 1; }
  message Address { SocketAddress socket_address = 1; }
  message SocketAddress { string address = 2; }
  message Request { HttpRequest http = 2; }
  message HttpRequest {
    string method = 2;
    map<string, bytes> headers = 3;
    string path = 4;
    string host = 5;
    HeaderMap header_map = 13;
  }
  message HeaderMap { repeated HeaderValue headers = 1; }
  message HeaderValue { string key = 1; bytes value = 2; bytes raw_value = 3; }

  message CheckResponse { Status status = 1; DeniedHttpResponse denied_response = 2; OkHttpResponse ok_response = 3; }
  message Status { int32 code = 1; }
  message DeniedHttpResponse { HttpStatus status = 1; repeated HeaderValueOption headers = 2; string body = 3; }
  message HttpStatus { int32 code = 1; }
  message OkHttpResponse { repeated HeaderValueOption headers = 2; repeated string headers_to_remove = 5; }
  message HeaderValueOption { HeaderValue header = 1; int32 append_action = 3; }`,
  { keepCase: true },
);
const CHECK_REQUEST = root.lookupType("CheckRequest");
const CHECK_RESPONSE = root.lookupType("CheckResponse");

/** Of `google.rpc.Code`. */
const RPC_CODE = { ok: 0, permissionDenied: 7 } as const;
/** Of `HeaderValueOption.HeaderAppendAction`. Old versions of Envoy do not read it, and replace. */
const APPEND = { add: 0, replace: 2 } as const;

/** Without an address where Envoy's listener is not one of TCP. */
type CheckMessage = {
  attributes: {
    source: { address: { socket_address: { address: string } | null } | null } | null;
    request: { http: HttpMessage | null } | null;
  } | null;
};
type HttpMessage = {
  method: string;
  path: string;
  host: string;
  headers: Record<string, Uint8Array>;
  header_map: { headers: HeaderMessage[] } | null;
};
type HeaderMessage = { key: string; value: Uint8Array; raw_value: Uint8Array };

/** The bytes are not a message from Envoy, which is a fault of its configuration. */
export class CheckMalformed extends Error {}

/** The head of the request that Envoy asks about. Throws CheckMalformed. */
export function readCheckRequest(bytes: Uint8Array): CheckHead {
  const { attributes } = decode(bytes);
  const http = attributes?.request?.http;
  const address = attributes?.source?.address?.socket_address?.address;
  if (!http) throw new CheckMalformed("The CheckRequest has no attributes.request.http: only requests of HTTP can be checked");
  if (!address) throw new CheckMalformed("The CheckRequest has no attributes.source.address.socket_address: Envoy must listen for clients on TCP");
  return new CheckHead(http, address);
}

function decode(bytes: Uint8Array): CheckMessage {
  try {
    return CHECK_REQUEST.decode(bytes) as unknown as CheckMessage;
  } catch (cause) {
    throw new CheckMalformed("The message is not an envoy.service.auth.v3.CheckRequest", { cause });
  }
}

export class CheckHead implements Head {
  readonly method: string;
  readonly target: string;
  readonly upgrade = false;
  /** As Envoy has them. */
  readonly sent = new Map<string, string>();
  /** It ends with the client's address. */
  readonly #chain: string;

  constructor({ method, path, host, headers, header_map: raw }: HttpMessage, address: string) {
    this.method = method;
    this.target = path;
    for (const [name, value] of Object.entries(headers)) this.#add(name, value);
    for (const { key, value, raw_value: bytes } of raw?.headers ?? []) this.#add(key, bytes.length > 0 ? bytes : value);
    this.sent.set("host", host);
    // With `use_remote_address`, Envoy has written the address there already. Without it, a client has written the whole line.
    const chain = this.sent.get("x-forwarded-for");
    const last = chain?.slice(chain.lastIndexOf(",") + 1).trim();
    this.#chain = chain === undefined ? address : last === address ? chain : `${chain}, ${address}`;
  }

  header(name: string): string | undefined {
    return name === "x-forwarded-for" ? this.#chain : this.sent.get(name);
  }

  #add(key: string, bytes: Uint8Array): void {
    const name = key.toLowerCase();
    const value = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
    if (!isFieldValue(value)) throw new CheckMalformed("A header in the CheckRequest has characters that are not allowed");
    const before = this.sent.get(name);
    this.sent.set(name, before === undefined ? value : `${before}${name === "cookie" ? "; " : ", "}${value}`);
  }
}

/** Envoy sends the request to the container's address. Faults: REQUEST_INVALID. */
export function allowCheck({ sent }: CheckHead, { address, head, edits }: AllowedRequest): Uint8Array {
  const headers = [option(ENVOY_UPSTREAM_HEADER, upstreamOf(address), APPEND.replace)];
  const removed = BERTH_HEADERS.filter((name) => sent.has(name));
  for (const name of Object.keys(EDITED_HEADERS)) {
    const value = editedValue(name, head, edits);
    if (value === undefined || value === "") removed.push(name);
    else if (value !== sent.get(name)) headers.push(option(name, value, APPEND.replace));
  }
  return encode({ status: { code: RPC_CODE.ok }, ok_response: { headers, headers_to_remove: removed } });
}

/** Envoy responds with `answer` itself, or sends the request to berth's edge. */
export function denyCheck({ status, headers, body }: DirectResponse): Uint8Array {
  if (status === 200) {
    const ok = { headers: [option(EDGE_HEADER, "1", APPEND.replace)], headers_to_remove: [ENVOY_UPSTREAM_HEADER] };
    return encode({ status: { code: RPC_CODE.ok }, ok_response: ok });
  }
  const written = new Set<string>();
  const options = headers.flatMap(([name, value]) => {
    const key = name.toLowerCase();
    // Envoy counts the bytes itself.
    if (key === "content-length") return [];
    const action = written.has(key) ? APPEND.add : APPEND.replace;
    written.add(key);
    return [option(key, value, action)];
  });
  return encode({ status: { code: RPC_CODE.permissionDenied }, denied_response: { status: { code: status }, headers: options, body } });
}

function option(key: string, text: string, action: number): object {
  const value = Buffer.from(text, "latin1");
  if (!isUtf8(value)) throw new Fault("REQUEST_INVALID", `The header ${key} has bytes that are not UTF-8, which Envoy cannot receive over gRPC`);
  return { header: { key, value }, append_action: action };
}

function encode(message: object): Uint8Array {
  return CHECK_RESPONSE.encode(message).finish();
}
