/** Models in worker threads: what crosses, and what a crash or a hang costs. */

import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { RequestContext, type ServerContext } from '../modelserver/context.ts'
import { TimeLimitError } from '../modelserver/errors.ts'
import { ModelEvent } from '../modelserver/event.ts'
import type { ModelOptions, V2ModelServer } from '../modelserver/model.ts'
import { threadedModel } from '../modelserver/scheduling/threaded-model.ts'

const soon = { timeout: 30_000, interval: 20 }

const module = new URL('./support/threaded-models.ts', import.meta.url)
const logged: string[] = []

function makeContext(): ServerContext {
  const log = (_fields: object, message: string) => void logged.push(message)
  return {
    logger: { debug: log, info: log, warn: log, error: log },
    workerId: 0,
    verbose: false,
    stream: undefined,
    server: 'test',
    project: '',
    getParam: (key, defaultValue) => (key === 'server' ? null : defaultValue),
    getSecret: () => undefined,
    pushError: () => {},
  }
}

async function start(exportName = 'Moody', more: Partial<ModelOptions> = {}, maxOldGenerationMb?: number) {
  const Class = threadedModel({ module, exportName, ...(maxOldGenerationMb ? { maxOldGenerationMb } : {}) })
  const model = new Class({ name: 'm:v1', params: { own: 1 }, context: makeContext(), ...more })
  onTestFinished(async () => {
    await model.unload?.()
  })
  await model.load()
  model.ready = true
  return model
}

function makeEvent(body: unknown): ModelEvent {
  const trigger = { kind: 'http', name: 'http' }
  return new ModelEvent({ id: 'e', path: '/p', method: 'POST', headers: {}, contentType: '', body, trigger })
}

const makeCall = () => new RequestContext(makeEvent(undefined), 'id-1', 'infer', 'v2')

const ask = async (model: V2ModelServer<object>, inputs: unknown[], call = makeCall()) =>
  model.predict({ inputs }, call)

describe('a threaded model', () => {
  test('is loaded and runs in a thread of its own, and shows its class, spec and labels', async () => {
    const model = await start()
    expect(await ask(model, ['thread'])).toBeGreaterThan(0)
    expect({ name: model.constructor.name, spec: model.modelSpec, labels: model.labels }).toEqual({
      name: 'Moody',
      spec: { inputs: [{ name: 'mood' }], outputs: [] },
      labels: { team: 'x' },
    })
    await vi.waitFor(() => expect(logged).toContain('loaded in a thread'), soon)
  })

  test('gets requests, contexts and parameters, and gives back results and metrics', async () => {
    const model = await start()
    expect(await ask(model, ['double', 4])).toEqual({
      doubled: new Float32Array([8]),
      id: 'id-1',
      op: 'infer',
    })
    expect(await ask(model, ['param'])).toEqual([1, null, 'default'])
    expect(await ask(model, ['metric', 4.5])).toBe(4.5)
    expect(model.metrics).toEqual({ last: 4.5 })
  })

  test('throws the errors of its class, with status and cause', async () => {
    const model = await start()
    await expect(ask(model, ['boom'])).rejects.toMatchObject({
      name: 'ValueError',
      message: 'boom',
      cause: { message: 'inner' },
    })
    await expect(ask(model, ['teapot'])).rejects.toMatchObject({ name: 'HttpError', status: 418 })
    await expect(ask(model, ['text'])).rejects.toBe('a text')
    await expect(ask(model, ['uncopyable'])).rejects.toMatchObject({ name: 'DataCloneError' })
  })

  test('answers custom operations and streams value by value', async () => {
    const model = await start()
    const operation = Reflect.get(model, 'op_echo') as (event: ModelEvent) => Promise<unknown>
    expect(await operation(makeEvent({ a: 1 }))).toEqual({ got: { a: 1 }, path: '/p' })
    const response = (await operation(makeEvent('response'))) as Response
    expect([response.status, await response.text()]).toEqual([418, 'teapot'])
    const letters = (text: string) =>
      model.generate?.({ text_input: text }, makeCall()) ?? expect.fail('no generate')
    expect(await Array.fromAsync(letters('abc'))).toEqual(['a', 'b', 'c'])
    expect(model.metrics).toEqual({ ended: true })
    const seen: unknown[] = []
    await expect(async () => {
      for await (const letter of letters('a!b')) seen.push(letter)
    }).rejects.toThrow('no shouting')
    expect(seen).toEqual(['a'])
  })

  test('sees an abort in its signal', async () => {
    const model = await start()
    const call = makeCall()
    const answer = ask(model, ['wait'], call)
    await ask(model, ['metric', 1])
    call.abort(new Error('the caller went away'))
    expect(await answer).toBe('Error: the caller went away')
  })

  test('that computes for long does not stop the server', async () => {
    const model = await start()
    let ticks = 0
    const timer = setInterval(() => ticks++, 5)
    onTestFinished(() => clearInterval(timer))
    expect(await ask(model, ['spin', 400])).toBe('spun')
    expect(ticks).toBeGreaterThan(10)
  })

  test('that crashes fails the request it had begun, keeps the others, and is loaded again', async () => {
    const model = await start()
    const before = await ask(model, ['thread'])
    const outcomes = await Promise.allSettled([
      ask(model, ['spin', 50]),
      ask(model, ['crash']),
      ask(model, ['double', 1]),
    ])
    expect(outcomes[1]).toMatchObject({
      status: 'rejected',
      reason: { name: 'RuntimeError', message: 'the thread of model m:v1 has ended: exit code 3' },
    })
    expect(outcomes[2]).toMatchObject({ status: 'fulfilled', value: { doubled: new Float32Array([2]) } })
    await vi.waitFor(() => expect(model.ready).toBe(true), 20_000)
    expect(await ask(model, ['thread'])).not.toBe(before)
  })

  test('that needs too much memory ends alone', async () => {
    const model = await start('Moody', {}, 64)
    await expect(ask(model, ['memory'])).rejects.toThrow(/the thread of model m:v1 has ended: .*memory/)
    expect(await ask(model, ['double', 1])).toMatchObject({ id: 'id-1' })
  })

  test('that hangs in a request over its time limit is ended and started again', async () => {
    const model = await start()
    const call = makeCall()
    const hung = ask(model, ['hang'], call)
    const other = ask(model, ['double', 2])
    // Sent, and perhaps not begun: the limit counts once it has.
    await new Promise((resolve) => setImmediate(resolve))
    call.abort(new TimeLimitError(504, 'too long'))
    await expect(hung).rejects.toThrow('did not come back from a request that was over its time limit')
    expect(await other).toMatchObject({ doubled: new Float32Array([4]) })
  })

  test('that answers while a request is over its time limit lives on', async () => {
    const model = await start()
    const before = await ask(model, ['thread'])
    const call = makeCall()
    const waiting = ask(model, ['wait'], call)
    await ask(model, ['metric', 1])
    call.abort(new TimeLimitError(504, 'too long'))
    expect(await waiting).toBe('TimeoutError: too long')
    expect(await ask(model, ['thread'])).toBe(before)
  })

  test('that cannot be loaded says why', async () => {
    await expect(start('NeverLoads')).rejects.toMatchObject({ name: 'ValueError', message: 'no file' })
    await expect(start('Missing')).rejects.toThrow(/exports no class Missing/)
  })

  test('that does not load again after a crash shows the reason and is tried until it does', async () => {
    const loads = new SharedArrayBuffer(4)
    const model = await start('LoadsOnce', { params: { loads } })
    await expect(ask(model, ['crash'])).rejects.toThrow('exit code 1')
    await vi.waitFor(() => expect([model.ready, model.error]).toEqual([false, 'not the second time']), 20_000)
    await vi.waitFor(() => expect(model.ready).toBe(true), 20_000)
    expect([await ask(model, [1]), model.error]).toEqual([[1], ''])
    expect(new Int32Array(loads)[0]).toBe(3)
    // A failed load that counted as a crash too would start a thread of its own, 0.5 s later.
    await expect(ask(model, ['crash'])).rejects.toThrow('exit code 1')
    await vi.waitFor(() => expect(new Int32Array(loads)[0]).toBe(4), 20_000)
    expect(await ask(model, [1])).toEqual([1])
    expect(new Int32Array(loads)[0]).toBe(4)
  })

  test('refuses a ready-made model object, which could not cross', () => {
    const Class = threadedModel({ module, exportName: 'Moody' })
    expect(() => new Class({ name: 'm', model: {} })).toThrow('cannot move into a thread')
  })
})
