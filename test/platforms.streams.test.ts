/** Streamed answers of every platform that has them: pieces, ends, failures in the middle, and the closed connection. */
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { codeOf, type ErrorCode } from '../contracts/errors.ts'
import type { Scenario } from '../dev/twins/job.ts'
import { startReplicateTwin } from '../dev/twins/replicate.ts'
import { startRunpodTwin } from '../dev/twins/runpod.ts'
import { makeHttpClient } from '../platforms/http.ts'
import { makeKserve } from '../platforms/kserve.ts'
import type { CallPlatform, JobPlatform, ModelTarget, StreamPiece } from '../platforms/platform.ts'
import { makeReplicate } from '../platforms/replicate.ts'
import { makeRunpod } from '../platforms/runpod.ts'
import { makeV2 } from '../platforms/v2.ts'
import { compareVersions } from '../platforms/versions.ts'
import { readObjects } from '../protocols/json-sequence.ts'
import * as scripted from './support/scripted-server.ts'
import { type Step, startScriptedServer } from './support/scripted-server.ts'

async function collect(stream: AsyncIterable<StreamPiece>): Promise<{ pieces: string[]; code?: ErrorCode }> {
  const pieces: string[] = []
  try {
    for await (const { data } of stream) pieces.push(data)
    return { pieces }
  } catch (error) {
    return { pieces, code: codeOf(error) }
  }
}

/** Writes the chunks with a pause between, so that they arrive apart. */
function chunks(contentType: string, ...texts: (string | Buffer)[]): Step {
  return (_call, response) => {
    response.writeHead(200, { 'content-type': contentType })
    const next = () => {
      const text = texts.shift()
      if (text === undefined) response.end()
      else response.write(text, () => setTimeout(next, 5))
    }
    next()
  }
}

interface Server {
  title: string
  platform: 'kserve' | 'v2'
  protocol: ModelTarget['protocol']
  make(): CallPlatform
  path: string
  contentType: string
  /** A piece on the wire. */
  piece(value: unknown): string
  error(text: string): string
}

const servers: Server[] = [
  {
    title: 'kserve v1',
    platform: 'kserve',
    protocol: 'v1',
    make: () => makeKserve(makeHttpClient(), { namespace: 'n', customDomain: 'd', version: '0.10.2' }),
    path: '/v1/models/talker:generate',
    contentType: 'application/x-ndjson',
    piece: (value) => `${JSON.stringify({ id: 0, data: value })}\n`,
    error: (text) => JSON.stringify({ error: text }),
  },
  {
    title: 'v2',
    platform: 'v2',
    protocol: 'mlrun',
    make: () => makeV2(makeHttpClient()),
    path: '/v2/models/talker/generate_stream',
    contentType: 'text/event-stream',
    piece: (value) => `data: ${JSON.stringify({ id: 'p', model_name: 'talker', text_output: value })}\n\n`,
    error: (text) => `: ping\n\ndata: ${JSON.stringify({ error: text })}\n\n`,
  },
]

async function stage(at: Server, step: Step) {
  const server = await startScriptedServer(step)
  const platform = at.make()
  onTestFinished(async () => {
    await server.close()
    await platform.close()
  })
  const target: ModelTarget = {
    name: 'talker',
    version: '',
    platform: at.platform,
    address: server.address,
    upstreamName: 'talker',
    protocol: at.protocol,
    timeoutMs: 20_000,
  }
  const controller = new AbortController()
  const open = (more: Partial<ModelTarget> = {}) => {
    const request = { id: 'p', inputs: '{"text_input":"hi"}', signal: controller.signal, remainingMs: 20_000 }
    return platform.stream?.({ ...request, target: { ...target, ...more } }) ?? expect.fail('no stream')
  }
  return { server, open, abort: () => controller.abort() }
}

describe.each(servers)('$title', (at) => {
  test('pieces come in order, wherever the bytes are cut', async () => {
    const whole = Buffer.from(['a "quoted" {', 'b\n', '💧', ''].map(at.piece).join(''))
    for (const size of [1, 7, 1000]) {
      const parts: Buffer[] = []
      for (let from = 0; from < whole.length; from += size) parts.push(whole.subarray(from, from + size))
      const { open, server } = await stage(at, chunks(at.contentType, ...parts))
      expect(await collect(open())).toEqual({ pieces: ['a "quoted" {', 'b\n', '💧', ''] })
      expect(server.calls[0]).toMatchObject({ method: 'POST', path: at.path })
      expect(server.calls[0]?.headers['idempotency-key']).toBe('p')
    }
  })

  test('a value that is no text is given as JSON, digit for digit', async () => {
    const wire = at.piece('N').replace('"N"', '{"n":12345678901234567890}')
    const { open } = await stage(at, chunks(at.contentType, wire))
    expect(await collect(open())).toEqual({ pieces: ['{"n":12345678901234567890}'] })
  })

  test('the first piece is there before the last is made', async () => {
    const { open } = await stage(at, (_call, response) => {
      response.writeHead(200, { 'content-type': at.contentType })
      response.write(at.piece('first'))
    })
    const stream = open()[Symbol.asyncIterator]()
    expect(await stream.next()).toEqual({ done: false, value: { data: 'first' } })
    await stream.return?.()
  })

  test.each([
    [400, 'platform_rejected'],
    [401, 'platform_credentials'],
    [500, 'platform_error'],
    [503, 'platform_busy'],
  ] as const)('status %i before the first piece is %s', async (status, code) => {
    const { open } = await stage(at, scripted.json({ error: 'no' }, status))
    expect(await collect(open())).toEqual({ pieces: [], code })
  })

  test('an error in the middle ends the stream with it', async () => {
    const { open } = await stage(
      at,
      chunks(at.contentType, at.piece('a'), at.error('ValueError: bad'), at.piece('b')),
    )
    expect(await collect(open())).toEqual({ pieces: ['a'], code: 'platform_error' })
  })

  test('a reset in the middle is a lost connection', async () => {
    const { open } = await stage(at, (_call, response, request) => {
      response.writeHead(200, { 'content-type': at.contentType })
      response.write(at.piece('a'), () => setTimeout(() => request.socket.resetAndDestroy(), 20))
    })
    expect(await collect(open())).toEqual({ pieces: ['a'], code: 'platform_connection_lost' })
  })

  test('a stream out of time is closed', async () => {
    const { open, server } = await stage(at, scripted.drip(at.piece('x'), 10))
    const { pieces, code } = await collect(open({ timeoutMs: 200 }))
    expect(code).toBe('prediction_timeout')
    expect(pieces.length).toBeGreaterThan(0)
    await vi.waitFor(() => expect(server.open).toBe(0), 5_000)
  })

  test('a caller that leaves closes the connection within a second', async () => {
    const { open, server } = await stage(at, scripted.drip(at.piece('x'), 10))
    for await (const _ of open()) break
    await vi.waitFor(() => expect(server.calls[0]?.aborted).toBe(true), 1_000)
  })

  test('a cancel closes the connection within a second', async () => {
    const { open, server, abort } = await stage(at, scripted.drip(at.piece('x'), 10))
    const ended = collect(open())
    await vi.waitFor(() => expect(server.calls).toHaveLength(1), 5_000)
    abort()
    expect((await ended).code).toBe('prediction_canceled')
    await vi.waitFor(() => expect(server.calls[0]?.aborted).toBe(true), 1_000)
  })

  test('a server that is not there is unreachable', async () => {
    const { open, server } = await stage(at, scripted.hang)
    const { address } = server
    await server.close()
    expect(await collect(open({ address }))).toEqual({ pieces: [], code: 'platform_unreachable' })
  })
})

test.each([
  ['0.9.0', ':generate'],
  ['0.10', ':generate'],
  ['v0.10.2', ':generate'],
  ['0.10.3', ':predict'],
  ['0.13.1', ':predict'],
  ['1.0.0', ':predict'],
])('KServe %s streams with %s', async (version, verb) => {
  const [kserve] = servers
  if (kserve === undefined) return
  const make = () => makeKserve(makeHttpClient(), { namespace: 'n', customDomain: 'd', version })
  const { open, server } = await stage({ ...kserve, make }, chunks('application/json', kserve.piece('a')))
  expect((await collect(open())).pieces).toEqual(['a'])
  expect(server.calls[0]?.path).toBe(`/v1/models/talker${verb}`)
  expect(server.calls[0]?.headers.host).toBe('talker.n.d')
})

test('versions are compared as numbers', () => {
  expect(compareVersions('0.9.0', '0.10.2')).toBeLessThan(0)
  expect(compareVersions('1.0', '1.0.0')).toBe(0)
  expect(compareVersions('0.13.1-rc1', '0.13.1')).toBe(0)
  expect(compareVersions('0.10.10', '0.10.9')).toBeGreaterThan(0)
})

test('KServe V2 has no streams', async () => {
  const [kserve] = servers
  if (kserve === undefined) return
  const { open, server } = await stage(kserve, scripted.hang)
  expect(await collect(open({ protocol: 'v2' }))).toEqual({ pieces: [], code: 'platform_unsupported' })
  expect(server.connections).toBe(0)
})

test('KServe objects inside event-stream blocks are read too, a web page is not', async () => {
  const [kserve] = servers
  if (kserve === undefined) return
  const blocks = chunks('text/event-stream', 'data: {"id":0,"data":"a"}\n\ndata: {"id":1,"data":"b"}\n\n')
  expect(await collect((await stage(kserve, blocks)).open())).toEqual({ pieces: ['a', 'b'] })
  const page = scripted.send('<html>welcome</html>')
  expect((await collect((await stage(kserve, page)).open())).code).toBe('platform_bad_answer')
})

test('objects are told apart without line ends, and half an object is seen', async () => {
  async function* texts(...all: string[]) {
    yield* all
  }
  const read = async (...all: string[]) => {
    const found: string[] = []
    try {
      for await (const object of readObjects(texts(...all))) found.push(object)
    } catch (error) {
      found.push(codeOf(error))
    }
    return found
  }
  expect(await read('{"a":"}"}{"b":{"c":"\\"{"}}', ' \n{"d"', ':1}')).toEqual([
    '{"a":"}"}',
    '{"b":{"c":"\\"{"}}',
    '{"d":1}',
  ])
  expect(await read('{"a":1}{"b"')).toEqual(['{"a":1}', 'platform_connection_lost'])
  expect(await read('hello')).toEqual(['platform_bad_answer'])
  expect(await read('')).toEqual([])
})

const apiKey = { reveal: () => 'secret' }

const providers = {
  async replicate(scenario: Scenario) {
    const twin = await startReplicateTwin({ apiKey: 'secret', scenario })
    return { twin, platform: makeReplicate(makeHttpClient(), { address: twin.createUrl, apiKey }) }
  },
  async runpod(scenario: Scenario) {
    const twin = await startRunpodTwin({ apiKey: 'secret', scenario })
    return { twin, platform: makeRunpod(makeHttpClient(), { address: twin.baseUrl, apiKey }) }
  },
  async 'runpod, bare arrays'(scenario: Scenario) {
    const twin = await startRunpodTwin({ apiKey: 'secret', scenario, streamForm: 'array' })
    return { twin, platform: makeRunpod(makeHttpClient(), { address: twin.baseUrl, apiKey }) }
  },
}

async function streamOf(
  { platform, twin }: { platform: JobPlatform; twin: { close(): Promise<void>; origin: string } },
  timeoutMs = 20_000,
) {
  onTestFinished(async () => {
    await twin.close()
    await platform.close()
  })
  const controller = new AbortController()
  const target: ModelTarget = {
    name: 'talker',
    version: '',
    platform: platform.name,
    address: twin.origin,
    upstreamName: 'm',
    protocol: '',
    timeoutMs: 20_000,
  }
  const call = { target, signal: controller.signal, remainingMs: 20_000 }
  const job = await platform.createJob({ id: 'p', inputs: '{}', ...call })
  const stream = platform.streamJob(job, { ...call, remainingMs: timeoutMs })
  return { stream, abort: () => controller.abort() }
}

describe.each(['replicate', 'runpod', 'runpod, bare arrays'] as const)('%s', (name) => {
  test('pieces come in order to the end', async () => {
    const { stream } = await streamOf(await providers[name]({ chunks: ['a', 'two\nlines', '💧'], runMs: 60 }))
    expect(await collect(stream)).toEqual({ pieces: ['a', 'two\nlines', '💧'] })
  })

  test('a job that fails ends its stream with its error', async () => {
    const { stream } = await streamOf(
      await providers[name]({ chunks: ['a'], runMs: 30, end: 'failed', error: 'oom' }),
    )
    expect(await collect(stream)).toEqual({ pieces: ['a'], code: 'platform_job_failed' })
  })

  test('a job that is canceled ends its stream as canceled', async () => {
    const { stream } = await streamOf(await providers[name]({ chunks: ['a'], runMs: 30, end: 'canceled' }))
    expect(await collect(stream)).toEqual({ pieces: ['a'], code: 'prediction_canceled' })
  })

  test('a stream out of time says so', async () => {
    const { stream } = await streamOf(await providers[name]({ chunks: [], end: 'never' }), 300)
    expect((await collect(stream)).code).toBe('prediction_timeout')
  })

  test('a cancel ends the stream at once', async () => {
    const { stream, abort } = await streamOf(await providers[name]({ chunks: [], end: 'never' }))
    const ended = collect(stream)
    abort()
    expect((await ended).code).toBe('prediction_canceled')
  })
})

test('a replicate stream that breaks off goes on behind the last event, without repeats', async () => {
  const provider = await providers.replicate({ chunks: ['a', 'b', 'c'], runMs: 60, breakAfter: 1 })
  const { stream } = await streamOf(provider)
  expect(await collect(stream)).toEqual({ pieces: ['a', 'b', 'c'] })
  const asked = provider.twin.callsOf('stream').map(({ headers }) => headers['last-event-id'])
  expect(asked[0]).toBeUndefined()
  expect(asked.slice(1).map((id) => String(id).split(':')[1])).toEqual(['0', '1', '2'])
})

test('a replicate stream that begins again instead of going on is not given twice', async () => {
  let connections = 0
  const events = ['a', 'b', 'c'].map((data, n) => `event: output\nid: 1:${n}\ndata: ${data}\n\n`)
  const server = await startScriptedServer((_call, response, request) => {
    connections++
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    if (connections === 3) return void response.end(`${events.join('')}event: done\nid: 1:3\ndata: {}\n\n`)
    response.write(events.slice(0, connections).join(''), () =>
      setTimeout(() => request.socket.resetAndDestroy(), 20),
    )
  })
  onTestFinished(() => server.close())
  const platform = makeReplicate(makeHttpClient(), { address: `${server.origin}/v1/predictions`, apiKey })
  onTestFinished(() => platform.close())
  const target = { timeoutMs: 20_000 } as ModelTarget
  const call = { target, signal: new AbortController().signal, remainingMs: 20_000 }
  const job = { jobId: 'j', hints: { stream: `${server.origin}/stream` } }
  expect(await collect(platform.streamJob(job, call))).toEqual({ pieces: ['a', 'b', 'c'] })
  expect(connections).toBe(3)
})

test.each([
  ['unknown events, comments and fields', 'event: logs\ndata: {"a"\n\n: note\n\nnonsense\nretry: soon\n\n'],
  ['a message without a name', 'data: hello\n\n'],
])('%s between the events of a replicate stream change nothing', async (_what, noise) => {
  const { stream } = await streamOf(await providers.replicate({ chunks: ['a', 'b'], runMs: 30, noise }))
  expect(await collect(stream)).toEqual({ pieces: ['a', 'b'] })
})

test('a replicate stream that is no event stream is a bad answer in the end', async () => {
  const page = { status: 200, body: { hello: 'you' } }
  const provider = await providers.replicate({
    chunks: ['a'],
    runMs: 30,
    faults: { stream: ['garbage', page, 503, 'reset', 500, page] },
  })
  const { stream } = await streamOf(provider)
  expect(await collect(stream)).toEqual({ pieces: [], code: 'platform_bad_answer' })
})

test('a replicate stream whose provider is gone says so', async () => {
  const provider = await providers.replicate({ chunks: ['a'], end: 'never', runMs: 20 })
  const { stream } = await streamOf(provider)
  const pieces = stream[Symbol.asyncIterator]()
  expect((await pieces.next()).value).toEqual({ data: 'a' })
  const next = pieces.next().catch(codeOf)
  await provider.twin.close()
  expect(await next).toBe('platform_unreachable')
})

test('a replicate model without a stream is unsupported', async () => {
  const { stream } = await streamOf(await providers.replicate({ output: 'x' }))
  expect(await collect(stream)).toEqual({ pieces: [], code: 'platform_unsupported' })
})

test('bad looks at a runpod stream lose no piece', async () => {
  const provider = await providers.runpod({
    chunks: ['a', 'b', 'c'],
    runMs: 100,
    faults: { stream: ['reset', 500, 'garbage', 503] },
  })
  const { stream } = await streamOf(provider)
  expect(await collect(stream)).toEqual({ pieces: ['a', 'b', 'c'] })
})
