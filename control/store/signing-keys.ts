import { json, optional, text, whole } from "./columns.ts";
import type { Sealed } from "./credentials.ts";
import { rowsOf } from "./rows.ts";
import type { Sql } from "./sql.ts";

/** A pair of keys that tokens are signed with; the private part is sealed. */
export type SigningKey = Sealed & {
  /** The RFC 7638 thumbprint of the public part. */
  kid: string;
  /** The public part as a JWK. */
  publicKey: { kty: "RSA"; n: string; e: string };
  createdOn: number;
  /** When it stopped signing; undefined: it signs. */
  retiredOn: number | undefined;
};

export type SigningKeys = ReturnType<typeof signingKeysIn>;

export function signingKeysIn(sql: Sql) {
  const rows = rowsOf<SigningKey>(sql, "signing_keys", "kid", {
    kid: text(),
    publicKey: json(),
    keyId: text(),
    box: text(),
    createdOn: whole(),
    retiredOn: optional(whole()),
  });
  return {
    /** The newest first. */
    all: () => rows.where("TRUE ORDER BY created_on DESC, rowid DESC"),
    insert: rows.insert,
    /** All that sign now do not from `at` on. */
    retire: (at: number) => sql.run("UPDATE signing_keys SET retired_on = ? WHERE retired_on IS NULL", Math.trunc(at)),
    reseal: (kid: string, { keyId, box }: Sealed) => rows.update(kid, { keyId, box }),
    remove: rows.remove,
    removeRetiredBefore: (time: number) => sql.run("DELETE FROM signing_keys WHERE retired_on < ?", Math.trunc(time)),
  };
}
