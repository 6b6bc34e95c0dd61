//! The node types of the reference that this engine does not implement.

/// The node types of the reference that are not native, by group.
pub(super) const NOT_NATIVE: &[(&str, &[&str])] = &[
    ("agents", &["AgentManager"]),
    (
        "agents.orchestrators",
        &[
            "AdaptiveOrchestrator",
            "GraphAgentManager",
            "GraphOrchestrator",
            "GraphState",
            "LinearOrchestrator",
        ],
    ),
    ("audio", &["ElevenLabsSTS", "ElevenLabsTTS", "SpeechToText", "TextToSpeech", "WhisperSTT"]),
    (
        "converters",
        &["GoogleDocumentAIFileConverter", "LLMImageConverter", "LLMPDFConverter", "TextractFileConverter"],
    ),
    ("detectors", &["LlamaGuardDetector", "PIIDetector", "PromptInjectionDetector", "SystemOne"]),
    (
        "embedders",
        &[
            "HuggingFaceDocumentEmbedder",
            "HuggingFaceTextEmbedder",
            "VertexAIDocumentEmbedder",
            "VertexAITextEmbedder",
            "WatsonXDocumentEmbedder",
            "WatsonXTextEmbedder",
        ],
    ),
    ("images", &["ImageEdit", "ImageGeneration", "ImageVariation"]),
    (
        "knowledge_graphs",
        &["KnowledgeGraphEntityExtractor", "KnowledgeGraphRetriever", "KnowledgeGraphWriter"],
    ),
    (
        "knowledgebases",
        &[
            "BedrockKnowledgeBaseSearch",
            "DynamiqKnowledgebaseGraphSearch",
            "DynamiqKnowledgebaseHybridSearch",
            "DynamiqKnowledgebaseVectorSearch",
            "VertexAIRagSearch",
        ],
    ),
    ("llms", &["Replicate", "WatsonX"]),
    ("parsers", &["MistralOCR"]),
    (
        "retrievers",
        &[
            "ElasticsearchDocumentRetriever",
            "MilvusDocumentRetriever",
            "OpenSearchDocumentRetriever",
            "TurbopufferDocumentRetriever",
        ],
    ),
    ("splitters", &["ContextualSplitter", "SemanticSplitter", "TokenSplitter"]),
    (
        "tools",
        &[
            "ArtifactTool",
            "BedrockAgentCoreInterpreterTool",
            "BedrockAgentCoreRuntimeInterpreterTool",
            "Composio",
            "ContextManagerTool",
            "CuaDesktopTool",
            "CypherExecutor",
            "DaytonaInterpreterTool",
            "E2BDesktopTool",
            "E2BInterpreterTool",
            "ExaTool",
            "FirecrawlSearchTool",
            "FirecrawlTool",
            "FunctionTool",
            "JinaScrapeTool",
            "JinaSearchTool",
            "Judgement",
            "LinkupTool",
            "MemoryStoreTool",
            "MessageSenderTool",
            "Pipedream",
            "PreprocessTool",
            "PythonCodeExecutor",
            "PythonMonty",
            "RecallFactsTool",
            "RememberFactTool",
            "SQLExecutor",
            "ScaleSerpTool",
            "SerplyTool",
            "SkillsTool",
            "Stagehand",
            "TavilyTool",
            "ZenRowsTool",
        ],
    ),
    ("transformers", &["MarkdownToPDF"]),
    (
        "writers",
        &[
            "ElasticsearchDocumentWriter",
            "MilvusDocumentWriter",
            "OpenSearchDocumentWriter",
            "TurbopufferDocumentWriter",
        ],
    ),
];

/// Those of them that are out of scope, by reason.
pub(super) const OUT_OF_SCOPE: &[(&str, &[&str])] = &[
    (
        "they handle audio",
        &[
            "audio.ElevenLabsSTS",
            "audio.ElevenLabsTTS",
            "audio.SpeechToText",
            "audio.TextToSpeech",
            "audio.WhisperSTT",
        ],
    ),
    ("they make images", &["images.ImageEdit", "images.ImageGeneration", "images.ImageVariation"]),
    (
        "they drive a browser or a desktop",
        &["tools.CuaDesktopTool", "tools.E2BDesktopTool", "tools.Stagehand"],
    ),
    (
        "they run code in a provider's sandbox; use `dynamiq.nodes.tools.Python`, which runs in Runyard's own",
        &[
            "tools.BedrockAgentCoreInterpreterTool",
            "tools.BedrockAgentCoreRuntimeInterpreterTool",
            "tools.DaytonaInterpreterTool",
            "tools.E2BInterpreterTool",
            "tools.PythonCodeExecutor",
        ],
    ),
    (
        "they call a function of the Python program that the workflow is part of, and there is none here",
        &["tools.FunctionTool"],
    ),
];
