/*
 * For tests only. The plugin class of the module analysis-common that stands in for the real one in Elasticsearch 7.
 */
package difylog.standin;

public class StandInModule extends StandInAnalysis {}
