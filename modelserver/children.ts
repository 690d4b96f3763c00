/** Runs one event through several routes, each with its own copy of the body (specification, 6). Merges nothing. */

import { errorText } from './errors.ts'
import type { ModelEvent } from './event.ts'
import type { Route } from './routes.ts'
import type { HostServices } from './settings.ts'

/** `thread` and `process`: concurrent, a failing child is left out. `array`: one by one, its error is the answer. */
export type Executor = 'thread' | 'process' | 'array'

export interface ChildResult {
  readonly key: string
  readonly value: unknown
}

/** Results in route order. Throws `none(first error)` when every child failed, or with `array` the first error itself. */
export async function runChildren(
  routes: readonly Route[],
  event: ModelEvent,
  op: string,
  {
    executor,
    services,
    none,
  }: { executor: Executor; services: HostServices; none: (cause: unknown) => Error },
): Promise<ChildResult[]> {
  const run = async (route: Route): Promise<ChildResult> => ({
    key: route.key,
    value: await route.run(event.copy({ body: structuredClone(event.body) }), op),
  })
  const results: ChildResult[] = []
  if (executor === 'array') {
    for (const route of routes) results.push(await run(route))
    return results
  }
  const failures: unknown[] = []
  for (const [i, outcome] of (await Promise.allSettled(routes.map(run))).entries()) {
    if (outcome.status === 'fulfilled') {
      results.push(outcome.value)
      continue
    }
    failures.push(outcome.reason)
    const key = routes[i]?.key
    services.context.logger.error({ route: key, error: errorText(outcome.reason) }, 'child left out')
  }
  if (results.length === 0 && failures.length > 0) throw none(failures[0])
  return results
}
