/** The router that sends every event to all of its routes and merges their objects (specification, 6). */

import { type ChildResult, type Executor, runChildren } from './children.ts'
import { RuntimeError } from './errors.ts'
import { isPlainObject, type ModelEvent } from './event.ts'
import { Reply } from './reply.ts'
import { ModelRouter, type RouterOptions } from './router.ts'

export interface ParallelRunOptions extends RouterOptions {
  /** Results are merged into the request's body instead of an empty object. */
  extendEvent?: boolean
  /** Default `thread`. */
  executor?: Executor
}

export class ParallelRun extends ModelRouter {
  readonly #extendEvent: boolean
  readonly #executor: Executor

  constructor({ extendEvent = false, executor = 'thread', ...options }: ParallelRunOptions = {}) {
    super(options)
    this.#extendEvent = extendEvent
    this.#executor = executor
  }

  /** Later routes win. Lists, strings and numbers stand under their route's key. May be overridden. */
  merger(body: Record<string, unknown>, results: readonly ChildResult[]): Record<string, unknown> {
    let merged = { ...body }
    for (const { key, value } of results) {
      if (isPlainObject(value)) merged = { ...merged, ...value }
      else if (value !== undefined && !(value instanceof Reply) && !(value instanceof Response))
        merged[key] = value
    }
    return merged
  }

  /** Several routes read the body. */
  override keepsBytes(): boolean {
    return false
  }

  protected override async answer(event: ModelEvent): Promise<unknown> {
    const results = await runChildren(this.routes.listed(), event, '', {
      executor: this.#executor,
      services: this.services,
      none: (cause) => new RuntimeError(`no route of ${this.constructor.name} answered`, { cause }),
    })
    return this.merger(this.#extendEvent && isPlainObject(event.body) ? event.body : {}, results)
  }
}
