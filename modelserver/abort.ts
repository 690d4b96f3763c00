/** An AbortSignal that costs nothing until somebody looks at it, and waiting that ends with one. Decides no reason to abort. */

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

/** The work's outcome, or the signal's reason as soon as it aborts. The work goes on; what it comes to then is nobody's. */
export function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason)
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort, { once: true })
    const stop = () => signal.removeEventListener('abort', onAbort)
    work.then(resolve, reject).then(stop, stop)
  })
}

/** Resolves to whether the work came to its end in that time; rejects as the work does. */
export async function within(work: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, ms, false)
  })
  try {
    return await Promise.race([work.then(() => true), late])
  } finally {
    clearTimeout(timer)
  }
}
