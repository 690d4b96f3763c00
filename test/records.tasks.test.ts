/** Records of others and rows of files: the store's side of the record service, on every kind of store. */
import { expect, test } from 'vitest'
import { admitted, describeStores, flightIds, servingStore, storeAt, taken } from './support/stores.ts'

const task = (id: string, more = {}) => ({
  id,
  modelName: 'iris',
  modelVersion: '2',
  uid: 'u',
  status: 'pending' as const,
  queueNum: 7,
  ...more,
})

describeStores('records of others', (kind) => {
  test('are created once, in no queue, and keep their first form', async () => {
    const store = await storeAt(await kind.place())
    const together = await Promise.all([store.createTask(task('t')), store.createTask(task('t'))])
    expect(together.sort()).toEqual(['created', 'exists'])
    expect(await store.createTask(task('t', { status: 'running' }))).toBe('exists')
    expect(await store.createTask(task('t', { modelName: 'other' }))).toBe('conflict')
    expect(await store.get('t')).toMatchObject({
      status: 'pending',
      queueNum: 7,
      queueId: '',
      uid: 'u',
      modelVersion: '2',
    })
    expect(await store.count('')).toEqual({ waiting: 1, running: 0 })
    expect(await store.count('critical')).toEqual({ waiting: 0, running: 0 })
  })

  test('change as far as their status allows, then freeze', async () => {
    const store = await storeAt(await kind.place())
    await store.createTask(task('t'))
    expect(await store.updateTask('absent', { status: 'failed' })).toBeUndefined()
    expect(await store.updateTask('t', { outputs: '{"half":1.50}' })).toMatchObject({
      status: 'pending',
      outputs: '{"half":1.50}',
      startedAt: null,
    })
    expect(await store.updateTask('t', { status: 'running', errorInfo: 'so far' })).toMatchObject({
      status: 'running',
      errorInfo: 'so far',
      startedAt: expect.any(String),
      endedAt: null,
    })
    expect(await store.updateTask('t', { status: 'pending', errorInfo: 'back' })).toMatchObject({
      status: 'running',
      errorInfo: 'so far',
    })
    const ended = await store.updateTask('t', { status: 'canceled', outputs: '2', runningTime: '1s' })
    expect(ended).toMatchObject({
      status: 'canceled',
      outputs: '2',
      runningTime: '1s',
      endedAt: expect.any(String),
    })
    expect(await store.updateTask('t', { status: 'succeeded', outputs: '3' })).toEqual(ended)
    expect(await store.updateTask('t', { queueId: 'q', outputs: '3' })).toEqual({ ...ended, queueId: 'q' })
    expect(await store.updateTask('t', { queueId: 'r' })).toMatchObject({ queueId: 'q' })
  })

  test('a prediction of ours that was changed from outside still takes its own result, unless it has ended', async () => {
    const store = await servingStore(await kind.place())
    const ids = await admitted(store, 2)
    const tokens = await Promise.all(ids.map((id) => taken(store, id)))
    await store.updateTask(ids[0]!, { outputs: '"half"' })
    await store.updateTask(ids[1]!, { status: 'failed' })
    const results = ids.map((id, n) => store.transition(id, 'succeeded', { outputs: '"whole"' }, tokens[n]))
    expect((await Promise.all(results)).map(({ changed }) => changed)).toEqual([true, false])
    expect(await store.get(ids[0]!)).toMatchObject({ status: 'succeeded', outputs: '"whole"' })
  })
})

describeStores('rows of files', (kind) => {
  test('a file is old when its time has passed and its prediction is gone', async () => {
    const store = await servingStore(await kind.place())
    const [mine] = await admitted(store)
    await store.addFile('a', mine!)
    await store.addFile('b', flightIds(1)[0]!)
    await store.addFile('c', '')
    await store.addFile('c', '')
    const [past, future] = [60_000, -60_000]
    expect(await store.oldFiles(past, 10)).toEqual([])
    expect((await store.oldFiles(future, 10)).sort()).toEqual(['b', 'c'])
    expect(await store.oldFiles(future, 1)).toHaveLength(1)
    await store.forgetFiles(['b', 'c', 'unknown'])
    expect(await store.oldFiles(future, 10)).toEqual([])
    await store.cancel(mine!)
    await store.expire(future)
    expect(await store.oldFiles(future, 10)).toEqual(['a'])
  })
})
