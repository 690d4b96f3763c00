/** An AbortSignal that costs nothing until somebody looks at it. Decides no reason to abort. */

/** What a source may hang from: another source, or a Fetch `Request`. */
export interface AbortParent {
  readonly signal: AbortSignal
}

export class AbortSource {
  readonly #parent: AbortParent | undefined
  #controller: AbortController | undefined
  #ended: { reason: unknown } | undefined

  constructor(parent?: AbortParent) {
    this.#parent = parent
  }

  /** Made at the first look, already aborted if it is late. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      const controller = new AbortController()
      this.#controller = controller
      const above = this.#parent?.signal
      if (this.#ended !== undefined) controller.abort(this.#ended.reason)
      else if (above?.aborted) controller.abort(above.reason)
      else above?.addEventListener('abort', () => controller.abort(above.reason), { once: true })
    }
    return this.#controller.signal
  }

  abort(reason: unknown): void {
    this.#ended ??= { reason }
    this.#controller?.abort(reason)
  }
}
