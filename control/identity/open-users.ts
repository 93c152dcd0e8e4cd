import { randomBytes, randomUUID } from "node:crypto";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { DevKey, User } from "../model/entities.ts";
import type { Store } from "../store/open-store.ts";
import type { DevKeyFilter, DevKeyRow, StoreRange, UserFilter } from "../store/users.ts";
import { endKey, keyId, tokenDigest } from "./sessions.ts";

export type UserAccount = { user: User; groups: string[]; keys: number };
export type UserAccountChange = { friendlyName?: string; admin?: boolean; groups?: readonly string[] };

/** Users and their developer keys, for administrators. Every method with a login: USER_NOT_FOUND. */
export type UserAccounts = {
  all(): Promise<UserAccount[]>;
  /** A part of the list, by login. */
  page(filter: UserFilter, range: StoreRange): Promise<UserAccount[]>;
  count(filter: UserFilter): Promise<number>;
  find(login: string): Promise<UserAccount>;
  /** Adds a user to a group, which exists while it has members. Faults: REQUEST_INVALID. */
  joinGroup(login: string, group: string): Promise<void>;
  /** Faults: GROUP_NOT_FOUND if the user is not in the group. */
  leaveGroup(login: string, group: string): Promise<void>;
  /** A part of the list of all users' keys, and how many there are. */
  keyPage(filter: DevKeyFilter, range: StoreRange): Promise<{ total: number; rows: DevKeyRow[] }>;
  /** Faults: LOGIN_TAKEN, also where it differs by case alone; REQUEST_INVALID. */
  add(login: string, changes: UserAccountChange): Promise<UserAccount>;
  /** Changes what is given; `groups` are then all that the user is in. Faults: REQUEST_INVALID. */
  change(login: string, changes: UserAccountChange): Promise<UserAccount>;
  /** Ends all sessions of the user; no key of the user is valid until `unblock`. `by`: the administrator. Faults: REQUEST_INVALID. */
  block(login: string, by: Pick<User, "id">): Promise<UserAccount>;
  unblock(login: string): Promise<UserAccount>;
  /** Who at the sign-in provider signs in as this user; undefined: no one. If it was another one, all sessions of the user end. Faults: LOGIN_TAKEN if another user is linked to the subject, REQUEST_INVALID. */
  link(login: string, provided: { issuer: string; subject: string } | undefined): Promise<UserAccount>;
  /**
   * Ends the user's keys and sessions with the user. The packages of the user become those of `heir`, so every package has
   * an author; the result names them. Faults: REQUEST_INVALID.
   */
  remove(login: string, heir: Pick<User, "id">): Promise<string[]>;
  keys(login: string): Promise<DevKey[]>;
  /** The key itself is in this answer and nowhere else. Faults: REQUEST_INVALID. */
  addKey(login: string, label: string): Promise<{ key: string; kept: DevKey }>;
  /** Faults: KEY_NOT_FOUND, REQUEST_INVALID. */
  revokeKey(login: string, id: string): Promise<void>;
};

/** The first user, whose key is in the settings. */
export const ADMIN_LOGIN = "admin";
/** A login becomes the tag of an image, so it is one. */
export const LOGIN = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$";
/** They stand where a login would in the API's paths. */
const RESERVED = new Set(["current", "login", "logout"]);
const MOST_KEYS = 20;
export const MOST_GROUPS = 100;

/** `signedOut` is called after sessions ended with their user or their key. `login`: of a user who has fewer rights or keys now. */
export function createUserAccounts({ store, clock, signedOut }: { store: Store; clock: Clock; signedOut: (login?: string) => void }): UserAccounts {
  const find = async (login: string): Promise<User> => {
    const user = await store.users.byLogin(login);
    if (!user) throw new Fault("USER_NOT_FOUND", `There is no user ${login}.`);
    return user;
  };
  const withDetails = async (users: readonly User[]): Promise<UserAccount[]> => {
    const ids = users.map(({ id }) => id);
    const [groups, keys] = [await store.groups.ofUsers(ids), await store.devKeys.countByUsers(ids)];
    return users.map((user) => ({ user, groups: groups.get(user.id) ?? [], keys: keys.get(user.id) ?? 0 }));
  };
  const person = async (user: User): Promise<UserAccount> => ({
    user,
    groups: await store.groups.ofUser(user.id),
    keys: (await store.devKeys.byUser(user.id)).length,
  });

  return {
    all: async () => withDetails(await store.users.all()),
    page: async (filter, range) => withDetails(await store.users.page(filter, range)),
    count: store.users.count,
    find: async (login) => person(await find(login)),
    joinGroup: (login, group) =>
      store.transaction(async () => {
        const { id } = await find(login);
        const groups = await store.groups.ofUser(id);
        if (!new RegExp(LOGIN).test(group))
          throw new Fault("REQUEST_INVALID", `"${group}" cannot be a group: letters, digits, ., _ and -, at most 63.`);
        if (!groups.includes(group) && groups.length >= MOST_GROUPS)
          throw new Fault("REQUEST_INVALID", `${login} is in ${MOST_GROUPS} groups already: remove one.`);
        await store.groups.join(group, id);
      }),
    leaveGroup: async (login, group) => {
      await store.transaction(async () => {
        if (!(await store.groups.leave(group, (await find(login)).id))) throw new Fault("GROUP_NOT_FOUND", `${login} is not in the group ${group}.`);
      });
      signedOut(login);
    },
    keyPage: async (filter, range) => ({ total: await store.devKeys.count(filter), rows: await store.devKeys.page(filter, range) }),
    add: (login, { friendlyName = login, admin = false, groups = [] }) =>
      store.transaction(async () => {
        if (!new RegExp(LOGIN).test(login) || RESERVED.has(login.toLowerCase())) {
          throw new Fault(
            "REQUEST_INVALID",
            `"${login}" cannot be a login: letters, digits, ., _ and -, at most 63, and none of ${[...RESERVED].join(", ")}.`,
          );
        }
        const taken = (await store.users.all()).find((user) => user.login.toLowerCase() === login.toLowerCase());
        if (taken) throw new Fault("LOGIN_TAKEN", `There is a user ${taken.login} already.`);
        const user = await store.users.insert({ id: randomUUID(), login, friendlyName, admin, createdOn: clock.now() });
        await store.groups.put(user.id, groups);
        return person(user);
      }),
    change: async (login, { groups, ...changes }) => {
      const changed = await store.transaction(async () => {
        const user = await find(login);
        if (login === ADMIN_LOGIN && changes.admin === false) throw new Fault("REQUEST_INVALID", "The first user stays an administrator.");
        if (groups) await store.groups.put(user.id, groups);
        return person((await store.users.update(user.id, changes)) ?? user);
      });
      // Rights may be fewer now: cached callers, and those with open requests, are verified again. The caller may have a transaction of its own.
      if (groups !== undefined || changes.admin === false) store.afterCommit(() => signedOut(login));
      return changed;
    },
    block: async (login, by) => {
      const account = await store.transaction(async () => {
        const user = await find(login);
        if (login === ADMIN_LOGIN) throw new Fault("REQUEST_INVALID", "The first user cannot be blocked; its key is changed by BERTH_ADMIN_KEY.");
        if (user.id === by.id) throw new Fault("REQUEST_INVALID", "You cannot block yourself; another administrator can.");
        // Those of containers too: after an unblock they would be valid again.
        await store.containers.endStartsOfUser(user.id);
        await store.sessions.removeByUser(user.id);
        return person((await store.users.update(user.id, { blockedOn: user.blockedOn ?? clock.now() })) ?? user);
      });
      signedOut(login);
      return account;
    },
    unblock: (login) =>
      store.transaction(async () => {
        const user = await find(login);
        return person((await store.users.update(user.id, { blockedOn: undefined })) ?? user);
      }),
    link: async (login, provided) => {
      const { account, isEnded } = await store.transaction(async () => {
        const user = await find(login);
        if (login === ADMIN_LOGIN) throw new Fault("REQUEST_INVALID", "The first user signs in by its key alone: link another administrator.");
        const holder = provided && (await findBySubject(store, provided.issuer, provided.subject));
        if (holder && holder.id !== user.id) throw new Fault("LOGIN_TAKEN", `This subject signs in as ${holder.login}: unlink that user first.`);
        const isSame = isSameIssuer(user.oidcIssuer, provided?.issuer) && user.oidcSubject === provided?.subject;
        const isOther = user.oidcSubject !== undefined && !isSame;
        if (isOther) {
          // The subject before may be another person, who may have created keys too: a key's sessions end with the others.
          await store.containers.endStartsOfSessions(user.id, undefined);
          await store.sessions.removeAllOf(user.id, undefined);
        }
        const updated = await store.users.update(user.id, { oidcIssuer: provided?.issuer, oidcSubject: provided?.subject });
        return { account: await person(updated ?? user), isEnded: isOther };
      });
      signedOut(isEnded ? login : undefined);
      return account;
    },
    remove: async (login, heir) => {
      const left = await store.transaction(async () => {
        const user = await find(login);
        if (login === ADMIN_LOGIN) throw new Fault("REQUEST_INVALID", "The first user cannot be removed; its key is changed by BERTH_ADMIN_KEY.");
        if (user.id === heir.id) throw new Fault("REQUEST_INVALID", "You cannot remove yourself; another administrator can.");
        if (!(await store.users.find(heir.id))) throw new Fault("USER_NOT_FOUND", "The user who would own the packages was removed meanwhile.");
        const packages = (await store.packages.all()).filter(({ authorId }) => authorId === user.id);
        for (const { id } of packages) await store.packages.update(id, { authorId: heir.id });
        await store.repositories.passOn(user.id, heir.id);
        await store.containers.endStartsOfUser(user.id);
        await store.users.remove(user.id);
        return packages.map(({ name }) => name);
      });
      signedOut(login);
      return left;
    },
    keys: async (login) => store.devKeys.byUser((await find(login)).id),
    addKey: (login, label) =>
      store.transaction(async () => {
        const user = await find(login);
        if ((await store.devKeys.byUser(user.id)).length >= MOST_KEYS)
          throw new Fault("REQUEST_INVALID", `${login} has ${MOST_KEYS} keys already: revoke one.`);
        const key = randomBytes(24).toString("base64url");
        const kept = { digest: tokenDigest(key), userId: user.id, id: keyId(), label, createdOn: clock.now(), fromSetting: false };
        return { key, kept: await store.devKeys.insert(kept) };
      }),
    revokeKey: async (login, id) => {
      await store.transaction(async () => {
        const key = (await store.devKeys.byUser((await find(login)).id)).find((one) => one.id === id);
        if (!key) throw new Fault("KEY_NOT_FOUND", `${login} has no key ${id}.`);
        if (key.fromSetting)
          throw new Fault("REQUEST_INVALID", "This key comes from the settings: it ends when berth starts with another BERTH_ADMIN_KEY.");
        await endKey(store, key);
      });
      signedOut(login);
    },
  };
}

/** As URLs: a provider may write itself with a slash at the end, and the settings without one. */
export function isSameIssuer(one: string | undefined, other: string | undefined): boolean {
  return one !== undefined && other !== undefined && spellingsOf(one).includes(other);
}

/** The user who is linked to a subject of a provider. */
export async function findBySubject(store: Pick<Store, "users">, issuer: string, subject: string): Promise<User | undefined> {
  for (const spelling of spellingsOf(issuer)) {
    const user = await store.users.bySubject(spelling, subject);
    if (user) return user;
  }
  return undefined;
}

/** How an issuer may be written. */
export function spellingsOf(issuer: string): string[] {
  const { href = issuer, pathname } = URL.parse(issuer) ?? {};
  return pathname === "/" ? [...new Set([issuer, href, href.replace(/\/$/, "")])] : [...new Set([issuer, href])];
}
