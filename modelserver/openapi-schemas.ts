/** JSON schemas of the bodies that the model server takes and gives, for its OpenAPI document. */

const parameters = {
  type: 'object',
  additionalProperties: { type: ['string', 'number', 'boolean'] },
}

const tensor = {
  name: { type: 'string' },
  shape: { type: 'array', items: { type: 'integer', minimum: 0 } },
  datatype: {
    enum: [
      'BOOL',
      'UINT8',
      'UINT16',
      'UINT32',
      'UINT64',
      'INT8',
      'INT16',
      'INT32',
      'INT64',
      'FP16',
      'FP32',
      'FP64',
      'BF16',
      'BYTES',
    ],
  },
  parameters,
  data: { type: 'array', description: 'Row-major, flat or nested as the shape; absent in the binary form' },
}

export const schemas = {
  Request: {
    type: 'object',
    required: ['inputs'],
    properties: { id: { description: 'Answered as it is' }, inputs: { type: 'array', items: {} } },
    additionalProperties: true,
  },
  DictRequest: {
    type: 'object',
    required: ['inputs'],
    properties: { inputs: { oneOf: [{ type: 'object' }, { type: 'array', items: { type: 'object' } }] } },
  },
  Answer: {
    type: 'object',
    required: ['id', 'model_name', 'outputs'],
    properties: {
      id: {},
      model_name: { type: 'string' },
      model_version: { type: 'string' },
      timestamp: { type: 'string', description: 'YYYY-MM-DD hh:mm:ss.ffffff+00:00' },
      outputs: {},
    },
  },
  Metadata: {
    type: 'object',
    required: ['name', 'inputs', 'outputs'],
    properties: {
      name: { type: 'string' },
      version: { type: 'string' },
      versions: { type: 'array', items: { type: 'string' } },
      platform: { type: 'string' },
      inputs: { type: 'array', items: { type: 'object' } },
      outputs: { type: 'array', items: { type: 'object' } },
      state: { type: 'string', description: 'Only with a reason' },
      reason: { type: 'string', description: 'Why the model is down, or what is wrong with it' },
    },
  },
  InferRequest: {
    type: 'object',
    required: ['inputs'],
    properties: {
      id: { type: 'string' },
      parameters,
      inputs: {
        type: 'array',
        minItems: 1,
        items: { type: 'object', required: ['name', 'shape', 'datatype'], properties: tensor },
      },
      outputs: {
        type: 'array',
        items: { type: 'object', required: ['name'], properties: { name: { type: 'string' }, parameters } },
      },
    },
  },
  InferAnswer: {
    type: 'object',
    required: ['model_name', 'outputs'],
    properties: {
      model_name: { type: 'string' },
      model_version: { type: 'string' },
      id: { type: 'string' },
      parameters,
      outputs: { type: 'array', items: { type: 'object', properties: tensor } },
    },
  },
  ServerMetadata: {
    type: 'object',
    required: ['name', 'version', 'extensions'],
    properties: {
      name: { type: 'string' },
      version: { type: 'string' },
      extensions: { type: 'array', items: { type: 'string' } },
    },
  },
  Live: { type: 'object', required: ['live'], properties: { live: { const: true } } },
  Ready: { type: 'object', required: ['ready'], properties: { ready: { const: true } } },
  ModelReady: {
    type: 'object',
    required: ['name', 'ready'],
    properties: { name: { type: 'string' }, ready: { const: true } },
  },
  Loaded: {
    type: 'object',
    required: ['name', 'load'],
    properties: { name: { type: 'string' }, load: { const: true } },
  },
  Unloaded: {
    type: 'object',
    required: ['name', 'unload'],
    properties: { name: { type: 'string' }, unload: { const: true } },
  },
  Predictions: { type: 'object', properties: { predictions: {} }, additionalProperties: true },
  Models: {
    type: 'object',
    required: ['models'],
    properties: { models: { type: 'array', items: { type: 'string' } } },
  },
  Instances: {
    type: 'object',
    properties: { instances: { type: 'array', items: {} } },
    additionalProperties: true,
  },
  GenerateRequest: {
    type: 'object',
    required: ['text_input'],
    properties: { id: { type: 'string' }, text_input: { type: 'string' }, parameters: { type: 'object' } },
  },
  GenerateAnswer: {
    type: 'object',
    required: ['model_name', 'text_output'],
    properties: {
      id: {},
      model_name: { type: 'string' },
      model_version: { type: 'string' },
      text_output: { type: 'string' },
    },
  },
  RepositoryIndex: {
    type: 'array',
    items: {
      type: 'object',
      required: ['name', 'state', 'reason'],
      properties: {
        name: { type: 'string' },
        version: { type: 'string' },
        state: { enum: ['READY', 'LOADING', 'UNLOADING', 'UNAVAILABLE'] },
        reason: { type: 'string' },
      },
    },
  },
  Error: { type: 'object', required: ['error'], properties: { error: { type: 'string' } } },
  Any: {},
} as const

export type SchemaName = keyof typeof schemas
