import { flag, text, whole } from "./columns.ts";
import type { User } from "../model/entities.ts";
import { rowsOf } from "./rows.ts";
import type { Sql } from "./sql.ts";

export type Users = ReturnType<typeof usersIn>;

export function usersIn(sql: Sql) {
  const rows = rowsOf<User>(sql, "users", "id", { id: text(), login: text(), friendlyName: text(), admin: flag(), createdOn: whole() });
  return {
    find: rows.find,
    byLogin: (login: string) => rows.where("login = ?", login)[0],
    all: () => rows.where("TRUE ORDER BY login"),
    insert: rows.insert,
    update: rows.update,
    /** Takes the user's sessions and developer keys along. */
    remove: rows.remove,
  };
}
