/*
 * For tests only. Stands in for Elasticsearch's module analysis-common, which is part of the download of
 * Elasticsearch but is not published as an artifact. It registers the few parts that difylog's analyzer uses:
 *
 *   tokenizer    ngram             min_gram, max_gram
 *   token filter lowercase
 *   char filter  mapping           mappings
 *   char filter  pattern_replace   pattern, replacement, flags
 *
 * The work is done by the same Lucene classes as in the real module. A setting that only the real module knows is
 * refused rather than ignored: a test must not pass on an analyzer that would be another one in production.
 */
package difylog.standin;

import java.io.Reader;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.charfilter.MappingCharFilter;
import org.apache.lucene.analysis.charfilter.NormalizeCharMap;
import org.apache.lucene.analysis.core.LowerCaseFilter;
import org.apache.lucene.analysis.ngram.NGramTokenizer;
import org.apache.lucene.analysis.pattern.PatternReplaceCharFilter;
import org.elasticsearch.common.regex.Regex;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.index.IndexSettings;
import org.elasticsearch.index.analysis.CharFilterFactory;
import org.elasticsearch.index.analysis.NormalizingCharFilterFactory;
import org.elasticsearch.index.analysis.NormalizingTokenFilterFactory;
import org.elasticsearch.index.analysis.TokenFilterFactory;
import org.elasticsearch.index.analysis.TokenizerFactory;
import org.elasticsearch.indices.analysis.AnalysisModule.AnalysisProvider;
import org.elasticsearch.plugins.AnalysisPlugin;
import org.elasticsearch.plugins.Plugin;

public class StandInAnalysis extends Plugin implements AnalysisPlugin {

    @Override
    public Map<String, AnalysisProvider<TokenizerFactory>> getTokenizers() {
        return Map.of("ngram", (index, environment, name, settings) -> ngram(index, name, settings));
    }

    @Override
    public Map<String, AnalysisProvider<TokenFilterFactory>> getTokenFilters() {
        return Map.of("lowercase", (index, environment, name, settings) -> lowercase(name, settings));
    }

    /** These two mean nothing without settings, so they must not be built for every index by default. */
    @Override
    public Map<String, AnalysisProvider<CharFilterFactory>> getCharFilters() {
        return Map.of(
            "mapping",
            AnalysisPlugin.requiresAnalysisSettings((index, environment, name, settings) -> mapping(name, settings)),
            "pattern_replace",
            AnalysisPlugin.requiresAnalysisSettings((index, environment, name, settings) -> patternReplace(name, settings))
        );
    }

    private static TokenizerFactory ngram(IndexSettings index, String name, Settings settings) {
        refuseOthers(name, settings, "min_gram", "max_gram");
        int min = settings.getAsInt("min_gram", 1);
        int max = settings.getAsInt("max_gram", 2);
        if (max - min > index.getMaxNgramDiff()) {
            throw new IllegalArgumentException(
                "The difference between max_gram and min_gram in NGram Tokenizer must be less than or equal to: ["
                    + index.getMaxNgramDiff() + "] but was [" + (max - min) + "]."
            );
        }
        return TokenizerFactory.newFactory(name, () -> new NGramTokenizer(min, max));
    }

    private static TokenFilterFactory lowercase(String name, Settings settings) {
        refuseOthers(name, settings);
        return new NormalizingTokenFilterFactory() {
            @Override
            public String name() {
                return name;
            }

            @Override
            public TokenStream create(TokenStream tokens) {
                return new LowerCaseFilter(tokens);
            }
        };
    }

    private static CharFilterFactory mapping(String name, Settings settings) {
        refuseOthers(name, settings, "mappings");
        List<String> rules = settings.getAsList("mappings", null);
        if (rules == null) {
            throw new IllegalArgumentException("mapping requires either `mappings` or `mappings_path` to be configured");
        }
        NormalizeCharMap.Builder builder = new NormalizeCharMap.Builder();
        for (String rule : rules) {
            MappingRule.parse(rule).addTo(builder);
        }
        NormalizeCharMap map = builder.build();
        return charFilter(name, reader -> new MappingCharFilter(map, reader));
    }

    private static CharFilterFactory patternReplace(String name, Settings settings) {
        refuseOthers(name, settings, "pattern", "replacement", "flags");
        String regex = settings.get("pattern");
        if (regex == null || regex.isEmpty()) {
            throw new IllegalArgumentException("pattern is missing for [" + name + "] char filter of type 'pattern_replace'");
        }
        Pattern pattern = Regex.compile(regex, settings.get("flags"));
        String replacement = settings.get("replacement", "");
        return charFilter(name, reader -> new PatternReplaceCharFilter(pattern, replacement, reader));
    }

    private interface Wrap {
        Reader around(Reader reader);
    }

    private static CharFilterFactory charFilter(String name, Wrap wrap) {
        return new NormalizingCharFilterFactory() {
            @Override
            public String name() {
                return name;
            }

            @Override
            public Reader create(Reader reader) {
                return wrap.around(reader);
            }
        };
    }

    /** Beside what the user wrote, settings may hold the index's own ("index.version.created"). */
    private static void refuseOthers(String name, Settings settings, String... known) {
        Set<String> unknown = new TreeSet<>();
        for (String key : settings.keySet()) {
            String top = key.replaceFirst("\\..*", ""); // an element of a list may arrive as "mappings.0"
            if (!Set.of("type", "version", "index").contains(top) && !Set.of(known).contains(top)) {
                unknown.add(key);
            }
        }
        if (!unknown.isEmpty()) {
            throw new IllegalArgumentException("the stand-in for analysis-common does not know " + unknown + " of [" + name + "]");
        }
    }

    /** One line "source => target", each side trimmed and with backslash escapes, as in the real module. */
    private static final class MappingRule {
        private static final Pattern SHAPE = Pattern.compile("(.*)\\s*=>\\s*(.*)\\s*$");
        private final String source;
        private final String target;

        private MappingRule(String source, String target) {
            this.source = source;
            this.target = target;
        }

        static MappingRule parse(String rule) {
            Matcher matcher = SHAPE.matcher(rule);
            if (!matcher.find()) {
                throw new IllegalArgumentException("Invalid Mapping Rule : [" + rule + "]");
            }
            return new MappingRule(unescape(matcher.group(1).trim()), unescape(matcher.group(2).trim()));
        }

        void addTo(NormalizeCharMap.Builder builder) {
            builder.add(source, target);
        }

        private static String unescape(String text) {
            StringBuilder out = new StringBuilder();
            for (int at = 0; at < text.length(); at++) {
                char c = text.charAt(at);
                if (c != '\\') {
                    out.append(c);
                    continue;
                }
                at++;
                if (at == text.length()) {
                    throw new IllegalArgumentException("Invalid escaped char in [" + text + "]");
                }
                c = text.charAt(at);
                if (c == 'u') {
                    if (at + 4 >= text.length()) {
                        throw new IllegalArgumentException("Invalid escaped char in [" + text + "]");
                    }
                    out.append((char) Integer.parseInt(text.substring(at + 1, at + 5), 16));
                    at += 4;
                } else {
                    int named = "ntrbf".indexOf(c);
                    out.append(named < 0 ? c : "\n\t\r\b\f".charAt(named));
                }
            }
            return out.toString();
        }
    }
}
