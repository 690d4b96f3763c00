/** Models that tests run in worker threads; each misbehaves on purpose. Imported by path, inside the thread. */

import { threadId } from 'node:worker_threads'
import type { RequestInfo } from '../../modelserver/context.ts'
import { HttpError, ValueError } from '../../modelserver/errors.ts'
import type { ModelEvent } from '../../modelserver/event.ts'
import { type ModelRequest, V2ModelServer } from '../../modelserver/model.ts'

/** `inputs[0]` says what predict does. */
export class Moody extends V2ModelServer {
  override load(): void {
    this.modelSpec = { inputs: [{ name: 'mood' }], outputs: [] }
    this.labels = { team: 'x' }
    this.context?.logger.info({ threadId }, 'loaded in a thread')
  }

  override async predict({ inputs = [] }: ModelRequest, ctx: RequestInfo): Promise<unknown> {
    const [mood, value] = inputs
    switch (mood) {
      case 'thread':
        return threadId
      case 'param':
        return [this.getParam('own', 0), this.getParam('server', 0), this.getParam('absent', 'default')]
      case 'metric':
        this.setMetric('last', value)
        return value
      case 'double':
        return { doubled: new Float32Array([Number(value) * 2]), id: ctx.id, op: ctx.op }
      case 'boom':
        throw new ValueError('boom', { cause: new Error('inner') })
      case 'teapot':
        throw new HttpError(418, 'short and stout')
      case 'text':
        throw 'a text'
      case 'uncopyable':
        return () => 1
      case 'crash':
        return process.exit(3)
      case 'spin': {
        const endMs = performance.now() + Number(value)
        while (performance.now() < endMs);
        return 'spun'
      }
      case 'hang':
        for (;;);
      case 'wait':
        return new Promise((resolve) =>
          ctx.signal.addEventListener('abort', () => {
            this.setMetric('aborted', true)
            resolve(String(ctx.signal.reason))
          }),
        )
      case 'memory': {
        const held: unknown[] = []
        for (;;) held.push(new Array(100_000).fill(held.length))
      }
      default:
        return inputs
    }
  }

  op_echo(event: ModelEvent): unknown {
    return event.body === 'response'
      ? new Response('teapot', { status: 418 })
      : { got: event.body, path: event.path }
  }

  override async *generate(request: Record<string, unknown>, ctx: RequestInfo): AsyncGenerator<string> {
    for (const letter of String(request.text_input)) {
      if (letter === '!') throw new ValueError('no shouting')
      if (ctx.signal.aborted) return
      yield letter
    }
    this.setMetric('ended', true)
  }
}

/** Hangs wherever it is asked to, its own clean-up too. */
export class NeverEnds extends V2ModelServer {
  override load(): void {}
  override predict(): unknown {
    for (;;);
  }
  override unload(): void {
    for (;;);
  }
}

export class NeverLoads extends V2ModelServer {
  override load(): void {
    throw new ValueError('no file')
  }
}

/** Loads when the counter file it is given says so: the first time and never again. */
export class LoadsOnce extends V2ModelServer {
  override load(): void {
    const shared = this.getParam<SharedArrayBuffer>('loads')
    if (Atomics.add(new Int32Array(shared), 0, 1) === 1) throw new ValueError('not the second time')
  }
  override predict({ inputs = [] }: ModelRequest): unknown {
    return inputs[0] === 'crash' ? process.exit(1) : inputs
  }
}
