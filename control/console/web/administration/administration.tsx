import type { User } from "../entities.ts";
import { type ConsolePath, linkTo } from "../location.ts";
import { LoadedPage } from "../parts/loaded-page.tsx";
import { ADMIN_PAGES, type AdminPageEntry } from "./pages.ts";

/** The page of a path behind `#/administration`. */
export function adminPageOf([name]: ConsolePath): AdminPageEntry | undefined {
  return ADMIN_PAGES.find((page) => page.name === name) ?? ADMIN_PAGES[0];
}

/** One page of administrators beside the list of all. On a narrow screen the menu of the header has the list. */
export function Administration({ rest, user }: { rest: ConsolePath; user: User }) {
  const current = adminPageOf(rest);
  if (!current) return null;
  return (
    <div class="with-side">
      <nav class="side" aria-label="Administration">
        <AdminLinks current={current} />
      </nav>
      <div class="side-content">
        <LoadedPage key={current.name} title={current.title} load={current.load} props={{ rest: rest.slice(1), user }} />
      </div>
    </div>
  );
}

/** `current`: undefined if no page of administrators is shown. */
export function AdminLinks({ current }: { current: AdminPageEntry | undefined }) {
  return [...new Set(ADMIN_PAGES.map(({ group }) => group))].map((group) => (
    <div key={group} role="group" aria-label={group}>
      <p class="quiet" aria-hidden="true">
        {group}
      </p>
      {ADMIN_PAGES.filter((page) => page.group === group).map(({ name, title }) => (
        <a key={name} href={linkTo("administration", name)} aria-current={current?.name === name ? "page" : undefined}>
          {title}
        </a>
      ))}
    </div>
  ));
}
