import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { User } from "../entities.ts";
import { type ConsolePath, linkTo } from "../location.ts";
import { Failure, Loading } from "../parts/display.tsx";
import { usePageTitle } from "../parts/page-title.ts";
import { ADMIN_PAGES, type AdminPageEntry, type AdminPageProps } from "./pages.ts";

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
        <LoadedPage key={current.name} page={current} rest={rest.slice(1)} user={user} />
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

function LoadedPage({ page: { title, load }, rest, user }: { page: AdminPageEntry } & AdminPageProps) {
  const [loaded, setLoaded] = useState<{ Content: ComponentType<AdminPageProps> }>();
  const [isFailed, setIsFailed] = useState(false);
  usePageTitle(title);
  useEffect(() => {
    let isGone = false;
    load().then(
      (Content) => isGone || setLoaded({ Content }),
      () => isGone || setIsFailed(true),
    );
    return () => {
      isGone = true;
    };
  }, [load]);
  if (loaded) return <loaded.Content rest={rest} user={user} />;
  if (!isFailed) return <Loading />;
  // A browser does not load a module again that failed once, and after an upgrade of berth the file has another name.
  return <Failure error={new Error(`The page ${title} did not load.`)} onRetry={() => location.reload()} />;
}
