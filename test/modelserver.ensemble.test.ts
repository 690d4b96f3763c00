/** Conformance cases 40 to 49 of the model-server specification: votes, parallel runs, enrichment. */

import { describe, expect, onTestFinished, test } from 'vitest'
import {
  createModelServer,
  EnrichmentModelRouter,
  EnrichmentVotingEnsemble,
  type ModelRequest,
  type ModelRouter,
  type ModelServer,
  ParallelRun,
  type ServerOptions,
  V2ModelServer,
  ValueError,
  VotingEnsemble,
  type VotingEnsembleOptions,
} from '../modelserver/index.ts'
import { Lists, modelOf } from './support/sample-models.ts'

const P = '/v2/models'
const D = { inputs: [5] }
const votes = (...predictions: number[]) => ({
  id: 'evt-1',
  model_name: 'VotingEnsemble',
  outputs: { predictions },
  model_version: 'v1',
})
const logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

class Column extends V2ModelServer {
  override async load(): Promise<void> {
    await this.getParam<Promise<void> | undefined>('until', undefined)
  }
  override predict({ inputs = [] }: ModelRequest): unknown {
    return { predictions: inputs.map((input) => Number(input) * this.getParam('times', 1)) }
  }
}

async function started(router: ModelRouter, add: (server: ModelServer) => void, options: ServerOptions = {}) {
  const server = createModelServer({ router, logger, ...options })
  add(server)
  onTestFinished(() => server.stop({ gracePeriodMs: 100 }))
  return server.start()
}

function ensembleE(options: ServerOptions = {}, until?: Promise<void>): Promise<ModelServer> {
  const router = new VotingEnsemble({
    voteType: 'regression',
    predictionColName: 'predictions',
    formatResponse: true,
  })
  return started(
    router,
    (server) => {
      for (const n of [1, 2, 3, 4]) {
        server.addModel(`m${n}`, {
          class: Column,
          params: { times: n * 100, until: n === 4 ? until : undefined },
        })
      }
    },
    options,
  )
}

/** Children that answer constants, as plain lists. */
function constants(values: unknown[][], options: VotingEnsembleOptions = {}): Promise<ModelServer> {
  return started(new VotingEnsemble(options), (server) => {
    for (const [i, value] of values.entries())
      server.addModel(`m${i + 1}`, { class: modelOf({ predict: () => value }) })
  })
}

function ask(server: ModelServer, path: string, body?: unknown) {
  return server.test(path, { eventId: 'evt-1', silent: true, ...(body === undefined ? {} : { body }) })
}

describe('ensemble E', () => {
  test('case 40: every ensemble URL is a vote of all children', async () => {
    const server = await ensembleE()
    for (const path of [`${P}/infer`, `${P}/predict`, `${P}/VotingEnsemble/infer`, '/']) {
      expect((await ask(server, path, D)).body).toEqual(votes(1250))
    }
    expect((await ask(server, '/', { model: 'm2', ...D })).body).toEqual(votes(1250))
    expect((await ask(server, `${P}/infer`, { inputs: [5, 5] })).body).toEqual(votes(1250, 1250))
  })

  test('case 41: a child is reached alone under its own name', async () => {
    const server = await ensembleE()
    expect((await ask(server, `${P}/m1/infer`, D)).body).toEqual({
      id: 'evt-1',
      model_name: 'm1',
      outputs: { predictions: [500] },
    })
    expect((await ask(server, `${P}/m1/ready`)).text).toBe('Model m1 is ready (event_id = evt-1)')
  })

  test('case 42: an unknown name lists the children and the ensemble', async () => {
    const server = await ensembleE()
    for (const [path, name] of [
      [`${P}/zz/infer`, 'zz'],
      [`${P}/xx`, 'xx'],
    ] as const) {
      const answer = await ask(server, path, D)
      expect([answer.status, answer.text]).toEqual([
        400,
        `ValueError: model ${name} doesnt exist, available models: m1 | m2 | m3 | m4 | VotingEnsemble or an operation alone for ensemble operation`,
      ])
    }
  })

  test('case 43: the inputs are checked before the children run', async () => {
    const server = await ensembleE()
    const none = await ask(server, `${P}/infer`, { x: [5] })
    expect([none.status, none.text]).toEqual([400, 'Exception: Expected key "inputs" in request body'])
    const scalar = await ask(server, `${P}/infer`, { inputs: 5 })
    expect([scalar.status, scalar.text]).toEqual([400, 'Exception: Expected "inputs" to be a list'])
    expect((await ask(server, `${P}/m1/infer`, { inputs: 5 })).text).toBe(
      'Exception: Expected "inputs" to be a list',
    )
  })

  test('case 44: an operation no child has, or the ensemble does not know, is an error', async () => {
    const server = await ensembleE()
    const explain = await ask(server, `${P}/explain`, D)
    expect(explain.status).toBe(400)
    expect(explain.text).toMatch(/^RuntimeError: no model of VotingEnsemble answered/)
    const zz = await ask(server, `${P}/VotingEnsemble/zz`, D)
    expect([zz.status, zz.text]).toEqual([400, 'ValueError: illegal model operation zz, method=POST'])
  })

  test('case 45: the ensemble is ready when all of its children are', async () => {
    let release = () => {}
    const until = new Promise<void>((resolve) => {
      release = resolve
    })
    const loaded = await ensembleE()
    expect((await ask(loaded, `${P}/VotingEnsemble/ready`)).text).toBe(
      'Model VotingEnsemble is ready (event_id = evt-1)',
    )
    const loading = await ensembleE({ loadMode: 'async' }, until)
    expect((await ask(loading, `${P}/VotingEnsemble/ready`)).status).toBe(408)
    release()
  })

  test('the list names the ensemble and its weights', async () => {
    const server = await started(
      new VotingEnsemble({ weights: { a: 1 }, name: 'trio', version: 'v9' }),
      (made) => {
        made.addModel('a', { class: Lists }).addModel('b', { class: Lists })
      },
    )
    expect((await ask(server, P)).body).toEqual({ models: ['a', 'b', 'trio'], weights: { a: 1, b: 0 } })
    expect((await ask(server, `${P}/trio`)).body).toEqual({
      name: 'trio',
      version: 'v9',
      inputs: [],
      outputs: [],
    })
    expect((await ask(server, `${P}/trio/infer`, D)).body).toMatchObject({ model_name: 'trio', outputs: [5] })
    expect((await ask(await ensembleE(), P)).body).toMatchObject({ weights: null })
  })
})

describe('case 46: plain lists decide the vote type, and array passes a child’s error on', () => {
  const outputs = async (server: ModelServer) =>
    ((await ask(server, `${P}/infer`, D)).body as { outputs: unknown }).outputs

  test('values that are not all integral are a regression', async () => {
    expect(await outputs(await constants([[1], [1], [2], [2.5]]))).toEqual([1.625])
  })

  test('integral values are a classification, and a tie goes to the lowest class', async () => {
    expect(await outputs(await constants([[1], [1], [2], [2]]))).toEqual([1])
  })

  test('negative classes count', async () => {
    expect(await outputs(await constants([[-1], [-1], [2]]))).toEqual([-1])
  })

  test('array: the error of a child is the answer', async () => {
    const server = await started(new VotingEnsemble({ executor: 'array' }), (made) => {
      made.addModel('good', { class: modelOf({ predict: () => [1] }) })
      const predict = () => {
        throw new ValueError('child failed')
      }
      made.addModel('bad', { class: modelOf({ predict }) })
    })
    const answer = await ask(server, `${P}/infer`, D)
    expect([answer.status, answer.text]).toEqual([400, 'ValueError: child failed'])
  })

  test('thread: a failed child is left out and the other weights stay', async () => {
    const server = await started(new VotingEnsemble({ voteType: 'regression' }), (made) => {
      made.addModel('good', { class: modelOf({ predict: () => [4] }) })
      made.addModel('bad', { class: modelOf({ predict: () => Promise.reject(new Error('no')) }) })
    })
    expect(await outputs(server)).toEqual([2])
  })

  test('answers that cannot be voted on are a ValueError', async () => {
    for (const values of [
      [['a'], [1]],
      [[1, 2], [1]],
    ]) {
      const answer = await ask(await constants(values), `${P}/infer`, D)
      expect(answer.status).toBe(400)
      expect(answer.text).toMatch(/^ValueError: /)
    }
  })

  test.each([
    [{ zz: 1 }, 'unknown route zz'],
    [{ m1: -1 }, 'm1 has weight -1'],
    [{ m1: Number.NaN }, 'm1 has weight NaN'],
    [{ m1: 0 }, 'their sum is 0'],
    [{ m1: 0.5 }, 'their sum 0.5 is below 1'],
  ])('weights %o are rejected at start', async (weights, reason) => {
    await expect(constants([[1], [2]], { weights })).rejects.toThrow(`bad ensemble weights: ${reason}`)
  })

  test('given weights are used as they are, or divided by their sum', async () => {
    const weights = { m1: 2, m2: 2 }
    expect(await outputs(await constants([[1.5], [2]], { weights }))).toEqual([7])
    expect(await outputs(await constants([[1.5], [2]], { weights, normalizeWeights: true }))).toEqual([1.75])
  })
})

describe('parallel runs', () => {
  const build = (router: ParallelRun) =>
    started(router, (server) => {
      server.addRoute('first', () => ({ a: 1, b: 2 }))
      server.addRoute('second', () => ({ c: 7 }))
      server.addRoute('third', ({ body }) => ({ mul: Number((body as { x?: number }).x) * 2 }))
    })

  test.each(['thread', 'array'] as const)(
    'case 47: results are merged in route order (%s)',
    async (executor) => {
      const server = await build(new ParallelRun({ extendEvent: true, executor }))
      expect((await ask(server, '/', { x: 8 })).body).toEqual({ x: 8, a: 1, b: 2, c: 7, mul: 16 })
      const empty = await server.run({ path: '', body: { x: 9 } })
      expect(empty.body).toMatchObject({ mul: 18 })
      const alone = await build(new ParallelRun({ executor }))
      expect((await ask(alone, '/', { x: 8 })).body).toEqual({ a: 1, b: 2, c: 7, mul: 16 })
      expect((await ask(server, '/')).body).toEqual({ name: 'ParallelRun', version: 'v2', extensions: [] })
    },
  )

  test('case 48: a child that throws is left out, or with array is the answer', async () => {
    const failing = (executor: 'thread' | 'array') =>
      started(new ParallelRun({ executor }), (server) => {
        server.addRoute('first', () => ({ a: 1, b: 2 }))
        server.addRoute('bad', () => {
          throw new ValueError('child failed')
        })
      })
    expect((await ask(await failing('thread'), '/', { x: 8 })).body).toEqual({ a: 1, b: 2 })
    const answer = await ask(await failing('array'), '/', { x: 8 })
    expect([answer.status, answer.text]).toEqual([400, 'ValueError: child failed'])
  })

  test('children get their own copies of the body, and all failing is an error', async () => {
    const server = await started(new ParallelRun(), (made) => {
      const spoil = ({ body }: { body: unknown }) => Object.assign(body as object, { spoiled: true }) && {}
      made.addRoute('spoils', spoil)
      made.addRoute('looks', ({ body }) => ({ saw: Object.keys(body as object) }))
    })
    expect((await ask(server, '/', { x: 8 })).body).toEqual({ saw: ['x'] })
    const failing = await started(new ParallelRun(), (made) => {
      made.addRoute('bad', () => Promise.reject(new ValueError('child failed')))
    })
    const answer = await ask(failing, '/', { x: 8 })
    expect([answer.status, answer.text]).toEqual([
      400,
      'RuntimeError: no route of ParallelRun answered, caused by: child failed',
    ])
  })
})

describe('enrichment', () => {
  const featureService = {
    features: ['id', 'tens'],
    statistics: { tens: { mean: 12.5 } },
    get: (entities: readonly unknown[]) =>
      entities.map((entity) => {
        const { id } = entity as { id: number }
        return [id, id === 3 ? null : id * 10]
      }),
  }
  const identity = { class: modelOf({ predict: ({ inputs }) => inputs }) }

  test('case 49: entities become rows before routing, and the list works without a body', async () => {
    const server = await started(new EnrichmentModelRouter({ featureService }), (made) =>
      made.addModel('m', identity),
    )
    const { body } = await ask(server, `${P}/m/infer`, { inputs: [{ id: 1 }, { id: 2 }] })
    expect(body).toMatchObject({
      outputs: [
        [1, 10],
        [2, 20],
      ],
    })
    expect((await ask(server, `${P}/`)).body).toEqual({ models: ['m'] })
    expect((await ask(server, '/v2/health')).body).toMatchObject({ name: 'EnrichmentModelRouter' })
  })

  test('missing values are imputed by column or by the rule for all', async () => {
    const impute = async (imputePolicy: Record<string, unknown>) => {
      const router = new EnrichmentModelRouter({ featureService, imputePolicy })
      const server = await started(router, (made) => made.addModel('m', identity))
      return ((await ask(server, `${P}/m/infer`, { inputs: [{ id: 3 }] })).body as { outputs: unknown })
        .outputs
    }
    expect(await impute({ tens: '$mean' })).toEqual([[3, 12.5]])
    expect(await impute({ '*': -1 })).toEqual([[3, -1]])
    expect(() => new EnrichmentModelRouter({ featureService, imputePolicy: { nope: 1 } })).toThrow(
      'unknown feature',
    )
  })

  test('an enriched ensemble votes on the rows', async () => {
    const sum = {
      class: modelOf({ predict: ({ inputs = [] }) => inputs.map((row) => (row as number[])[1]) }),
    }
    const server = await started(new EnrichmentVotingEnsemble({ featureService }), (made) =>
      made.addModel('m', sum),
    )
    expect((await ask(server, `${P}/infer`, { inputs: [{ id: 2 }] })).body).toMatchObject({ outputs: [20] })
  })
})
